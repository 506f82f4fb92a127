"""What is a collection of pictures? A fixed order of keys, and the bytes of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = bytes | NDArray[np.uint8]
"""A picture before it is decoded: the bytes of its file, or pixels [H, W, 3] or [H, W] that were never in one."""


class PictureReader(Protocol):
    """The part of a source that travels to workers: small, picklable, and knows no list of keys.

    It opens its file when it is first asked, in each process anew, also after a fork. Threads may share it.
    """

    @property
    def root(self) -> Path:
        """The folder or file that all pictures lie in: while it is away, no picture is missing."""
        ...

    def read(self, handle: Any, /) -> Picture:
        """One picture, as it is stored.

        Args:
            handle: one of the source's `handles`.

        Raises:
            PictureError: it cannot be had; with the status MISSING, UNREADABLE or REFUSED.
        """
        ...


class ImageSource(Protocol):
    """Pictures in an order that never changes while the collection does not.

    keys:         the name of each picture, unique, with / between its parts (see storage/keys.py)
    handles:      what the reader reads each picture by; a slice is small, and picklable
    targets:      the data set's own class of each, -1 where one has none, or None where none has
    target_names: the names of those classes, in the order of their numbers, or None
    left_out:     how many files or members the collection holds that are no pictures by their name
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
        """What workers read with."""
        ...
