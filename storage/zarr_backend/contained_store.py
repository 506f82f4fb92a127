"""How does zarr-python use a local folder? It neither reads nor writes through links that leave the folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from storage.files import contained
from storage.files.atomic_file import write_atomically
from storage.files.contained import is_missing
from storage.remote.mirror import Mirror

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest


class Contained(LocalStore):  # type: ignore[misc]  # zarr is not type-checked
    """A local folder as zarr-python knows it. How large an object may be, `Objects` checks before one is read."""

    def __init__(self, root: Path, *, read_only: bool, mirror: Mirror | None = None) -> None:
        """Args: the folder, whether it is only read, and what fetches objects into it."""
        super().__init__(root, read_only=read_only)
        self._mirror = mirror
        self._is_open = True  # zarr-python would make the folder when it first uses it

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes of an object, or None if there is none."""
        if self._mirror is not None:
            await asyncio.to_thread(self._mirror.fetch, key)
        try:
            await asyncio.to_thread(contained.to_read, self.root, key)
        except OSError as error:
            if is_missing(error):
                return None
            raise
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object whole."""
        path = await asyncio.to_thread(contained.to_change, self.root, key)
        await asyncio.to_thread(write_atomically, path, value.to_bytes(), below=self.root)
