"""Where are the objects of a remote store on this machine? In a folder, each with the SHA-256 that it must have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import final

from storage.errors import DamageError, UnreadableError
from storage.files.atomic_file import write_atomically
from storage.remote import cache

ATTEMPTS = 3  # to get the right bytes; a request that fails is repeated more often
_AT_ONCE = 16  # requests


@final
class Kept:
    """The objects of one store that were fetched, under their names.

    address: of the store, as in errors
    folder:  where they are
    """

    def __init__(
        self, address: str, folder: Path, get: Callable[..., bytes | None], *, advice: str, room: cache.Room | None
    ) -> None:
        """Nothing is read yet.

        Args:
            address: of the store.
            folder: for its objects.
            get: the bytes that the store has of a name, or None if it has none; `most=` limits how many it may have.
            advice: what an error says of bytes that stay wrong, after their name and address.
            room: keeps the folder below its limit; None where it has none.
        """
        self.address, self.folder = address, folder
        self._get, self._advice, self._room = get, advice, room
        self._sound: set[tuple[str, str]] = set()  # names and SHA-256 of what this process has checked
        self._one_at_a_time = [Lock() for _ in range(4 * _AT_ONCE)]

    def fetch(self, name: str, digest: str, *, most: int | None = None) -> bool:
        """Have the object of this name and SHA-256 in the folder; False if the store has none.

        Args:
            name: of the object.
            digest: its SHA-256, in hexadecimal.
            most: how many bytes it may have; default: as many as `get` allows.

        Raises:
            DamageError: the store has other bytes, or more.
            UnreadableError: they cannot be read, or the folder cannot be written.
        """
        if self.has(name, digest):
            return True
        with self._one_at_a_time[hash(name) % len(self._one_at_a_time)]:
            if self.has(name, digest):
                return True
            if (data := self._sound_bytes(name, digest, most)) is None:
                return False
            self.keep(name, data)
            self._sound.add((name, digest))
            return True

    def fetch_all(self, digests: Mapping[str, str], *, most: int | None = None) -> None:
        """The same for many, some at the same time. Those that the folder has are not read again."""
        if missing := [name for name in digests if not (self.folder / name).exists()]:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for _ in pool.map(lambda name: self.fetch(name, digests[name], most=most), missing):
                    pass

    def has(self, name: str, digest: str) -> bool:
        """Whether the folder has the object; what is another one, or was damaged by a disk, is removed."""
        path = self.folder / name
        try:
            if (name, digest) not in self._sound:
                if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                    path.unlink(missing_ok=True)
                    return False
                self._sound.add((name, digest))
            cache.touch(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UnreadableError(f"cannot read {path}, where {name} of {self.address} is kept: {error}") from error
        return True

    def keep(self, name: str, data: bytes) -> None:
        """Write an object into the folder."""
        try:
            write_atomically(self.folder / name, data)
        except OSError as error:
            raise UnreadableError(
                f"cannot keep {name} of {self.address} in {self.folder}: {error}; TOKENLABEL_CACHE names another folder"
            ) from error
        if self._room is not None:
            self._room.add(len(data))

    def _sound_bytes(self, name: str, digest: str, most: int | None) -> bytes | None:
        """The bytes of an object that have this SHA-256, or None if the store has none."""
        limit = {} if most is None else {"most": most}
        for _ in range(ATTEMPTS):
            if (data := self._get(name, **limit)) is None or hashlib.sha256(data).hexdigest() == digest:
                return data
        raise DamageError(f"{name} of {self.address} {self._advice}")
