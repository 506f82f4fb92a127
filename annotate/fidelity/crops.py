"""Which crops are compared? Random ones of a fixed area, with the shapes of RandomResizedCrop."""

from __future__ import annotations

import math

import numpy as np

_SHAPES = 3 / 4, 4 / 3  # width / height, pixels


def random_crop(rng: np.random.Generator, size: tuple[int, int], area: float) -> tuple[slice, slice]:
    """Rows and columns of a random crop, in whole pixels.

    Args:
        rng: source of all randomness.
        size: height and width of the picture, pixels.
        area: of the crop, as a fraction of the picture's; 1 is the whole picture.

    The shape is drawn as `RandomResizedCrop` draws it, of those shapes that fit: of 3/4 to 4/3, or where a crop of
    this area fits in none of these, the nearest that does.
    """
    rows, columns = size
    narrowest, widest = area * columns / rows, columns / (area * rows)
    low, high = (min(max(shape, narrowest), widest) for shape in _SHAPES)
    shape = math.exp(rng.uniform(math.log(low), math.log(high)))
    pixels = area * rows * columns
    height = min(rows, max(1, round(math.sqrt(pixels / shape))))
    width = min(columns, max(1, round(math.sqrt(pixels * shape))))
    top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
    return slice(top, top + height), slice(left, left + width)
