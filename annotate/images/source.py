"""What is a collection of pictures? A fixed order of keys, and the bytes of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class PictureReader(Protocol):
    """The part of a source that travels to workers: small, picklable, and knows no list of keys."""

    def read(self, key: str) -> bytes:
        """The bytes of one picture, as they are stored.

        Raises:
            PictureError: they cannot be had; with the status MISSING or UNREADABLE.
        """
        ...


class ImageSource(Protocol):
    """Pictures in an order that never changes while the collection does not.

    keys:         the name of each picture, unique, with / between its parts (see storage/keys.py)
    targets:      the data set's own class of each, or None where it has none
    target_names: the names of those classes, in the order of their numbers, or None
    left_out:     how many files the collection holds that are no pictures by their name
    """

    @property
    def keys(self) -> Sequence[str]: ...  # noqa: D102 in the class's docstring

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
