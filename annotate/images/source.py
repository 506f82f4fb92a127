"""What is a collection of pictures? A fixed order of keys, and the bytes of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from annotate.errors import PictureError
from storage import Status

MOST_BYTES = 1 << 31  # of a picture's file: more than pictures that are decoded have in any format

Picture: TypeAlias = bytes | NDArray[np.uint8]
"""A picture before it is decoded: the bytes of its file, or its pixels [H, W, 3] or [H, W]."""


def refuse_large(size: int) -> None:
    """Check that a file of so many bytes can be a picture. A sparse file takes no room on the disk, but in memory.

    Raises:
        PictureError: REFUSED.
    """
    if size > MOST_BYTES:
        raise PictureError(Status.REFUSED, f"{size:,} bytes are more than the {MOST_BYTES:,} allowed")


class PictureReader(Protocol):
    """The part of a source that is sent to workers: small, picklable, and without the list of keys.

    It opens its file on first use in each process, also after a fork. Threads may share it.
    """

    @property
    def root(self) -> Path:
        """The folder or file that holds all pictures: while it is unavailable, no single picture counts as missing."""
        ...

    def read(self, handle: Any, /) -> Picture:
        """One picture as it is stored.

        Args:
            handle: one of the source's `handles`.

        Raises:
            PictureError: it cannot be read; with the status MISSING, UNREADABLE or REFUSED.
        """
        ...


class ImageSource(Protocol):
    """Pictures in an order that stays the same as long as the collection does.

    keys:         the key of each picture, unique, with / as separator (see storage/keys/key.py)
    handles:      for each picture, what the reader needs to read it; a slice is small and picklable
    targets:      the dataset's own class of each picture, -1 where one has none; None if no picture has one
    target_names: the names of those classes in the order of their numbers, or None
    left_out:     number of files or members in the collection whose names are not those of pictures
    """

    @property
    def keys(self) -> Sequence[str]: ...  # noqa: D102 in the class's docstring

    @property
    def handles(self) -> Sequence[Any]: ...  # noqa: D102

    @property
    def targets(self) -> Sequence[int] | None: ...  # noqa: D102

    @property
    def target_names(self) -> tuple[str, ...] | None: ...  # noqa: D102

    @property
    def left_out(self) -> int: ...  # noqa: D102

    @property
    def reader(self) -> PictureReader:
        """The reader that is sent to workers."""
        ...


@dataclass(frozen=True, slots=True)
class ChosenPictures:
    """Some pictures of a source, or all of them in another order: an `ImageSource`."""

    keys: Sequence[str]
    handles: Sequence[Any]
    targets: Sequence[int] | None
    target_names: tuple[str, ...] | None
    left_out: int
    reader: PictureReader

    @classmethod
    def of(cls, source: ImageSource, positions: Sequence[int]) -> Self:
        """Those at these positions of a source."""
        targets = source.targets
        return cls(
            keys=[source.keys[position] for position in positions],
            handles=[source.handles[position] for position in positions],
            targets=None if targets is None else [targets[position] for position in positions],
            target_names=source.target_names,
            left_out=source.left_out,
            reader=source.reader,
        )
