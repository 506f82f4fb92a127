"""How are four pictures put into one? As 2x2 tiles of equal size, in the shape of the network's input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from annotate.model.preprocess import Mode, preprocess
from storage import Box

TILES = 4
_QUARTERS = tuple(Box(top, left, top + 0.5, left + 0.5) for top in (0.0, 0.5) for left in (0.0, 0.5))
_BEYOND = 0.05  # of a location may lie in the next tile: inputs have odd sides, and boxes are rounded


def tile(
    picture: NDArray[np.uint8], input_size: tuple[int, int], mode: Mode, *, interpolation: str
) -> NDArray[np.uint8]:
    """A picture uint8 [H, W, 3] in half the height and width of an input.

    It is squashed where the annotator squashes its pictures; else it is cropped, so that no grey bars are shown.
    """
    half = max(1, input_size[0] // 2), max(1, input_size[1] // 2)
    return preprocess(picture, half, "squash" if mode == "squash" else "center", interpolation=interpolation)[0]


def mosaic(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Four tiles uint8 [h, w, 3] as one picture [2h, 2w, 3], in the order of reading."""
    upper_left, upper_right, lower_left, lower_right = tiles
    return np.vstack([np.hstack([upper_left, upper_right]), np.hstack([lower_left, lower_right])])


def tile_of_locations(grid: tuple[int, int], box: Box) -> NDArray[np.intp]:
    """The tile, 0 to 3, that each location lies in as a whole, or -1 where it reaches into two: int [h, w].

    Args:
        grid: rows and columns of a mosaic's label.
        box: the part of the mosaic that the grid covers.
    """
    (h, w), found = grid, np.full(grid, -1)
    tops, lefts = box.top + box.height * np.arange(h) / h, box.left + box.width * np.arange(w) / w
    for number, quarter in enumerate(_QUARTERS):
        rows = _inside(tops, box.height / h, quarter.top, quarter.bottom)
        columns = _inside(lefts, box.width / w, quarter.left, quarter.right)
        found[np.ix_(rows, columns)] = number
    return found


def _inside(starts: NDArray[np.float64], length: float, low: float, high: float) -> NDArray[np.bool_]:
    """Which intervals lie inside another; what reaches beyond the mosaic sees no other tile."""
    lowest = -np.inf if low == 0 else low - _BEYOND * length
    highest = np.inf if high == 1 else high + _BEYOND * length
    return (lowest <= starts) & (starts + length <= highest)
