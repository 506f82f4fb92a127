"""How much of a long task is done? What it reports, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of the work over the rows of a store is done.

    done:   pictures that are finished, with or without a label
    total:  pictures that there are
    failed: how many of those finished have no label
    """

    done: int
    total: int
    failed: int


OnProgress = Callable[[Progress], object]
"""What long work calls when it begins and after each shard, such as a progress bar's method."""


def silent(progress: Progress) -> None:
    """What work that nobody watches calls."""
