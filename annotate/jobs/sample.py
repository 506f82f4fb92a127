"""Which pictures stand for a collection? Some that are chosen at random, the same ones each time, read in batches."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotate.errors import PictureError
from annotate.images.source import ImageSource
from annotate.model.recipe import Recipe


class Batch(NamedTuple):
    """Pictures that were read together.

    asked:    how many were chosen
    rows:     of those that can be read
    pictures: these, uint8 [H, W, 3]
    """

    asked: int
    rows: list[int]
    pictures: list[NDArray[np.uint8]]


def chosen(rows: Sequence[int], count: int) -> list[int]:
    """At most so many of the rows, in ascending order."""
    return sorted(random.Random(0).sample(rows, min(count, len(rows))))


def batches(source: ImageSource, rows: Sequence[int], recipe: Recipe, size: int) -> Iterator[Batch]:
    """The pictures of these rows, as the recipe decodes them. Those that cannot be read are left out."""
    for start in range(0, len(rows), size):
        asked = rows[start : start + size]
        read: dict[int, Any] = {}
        for row in asked:
            try:
                read[row] = recipe.decode(source.reader.read(source.handles[row]))
            except PictureError:
                continue
        yield Batch(len(asked), [*read], [*read.values()])
