"""How does a long task report how much of it is done? By calling a function with its Progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of the work over the rows of a store is done.

    done:   pictures that are finished, with or without a label
    total:  number of pictures
    failed: how many of those finished have no label
    """

    done: int
    total: int
    failed: int


OnProgress = Callable[[Progress], object]
"""A function that long tasks call when they begin and after each shard, such as a progress bar's method."""


def silent(progress: Progress) -> None:
    """Report nothing: the default."""
