"""Are the labels right? Compared with the truth, which nothing in training reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from demo.scenes import BACKGROUND
from storage import Box, LabelStore


def label_truth(store: LabelStore, truth: Path) -> tuple[int, int]:
    """The number of label locations inside a digit that name it, and the number of all locations inside a digit.

    Args:
        store: labels of a split of the scenes.
        truth: the folder of that split's truth.
    """
    right = locations = 0
    labels = store.read(range(len(store)))
    for n, key in enumerate(store.keys):
        digits = digit_of_locations(truth, key, labels[n].box, store.schema.grid)
        inside = digits != BACKGROUND
        locations += int(inside.sum())
        right += int((labels.classes[n, ..., 0] == digits)[inside].sum())
    return right, locations


def digit_of_locations(truth: Path, key: str, box: Box, grid: tuple[int, int]) -> np.ndarray:
    """The digit that wholly contains each location's cell, or BACKGROUND: int [h, w].

    Args:
        truth: the folder of the truth of the picture's split.
        key: the picture's key.
        box: the part of the picture that the grid covers.
        grid: rows and columns.
    """
    pixels, (h, w) = np.asarray(Image.open((truth / key).with_suffix(".png"))), grid
    rows, columns = pixels.shape
    edges_y = np.round((box.top + box.height * np.arange(h + 1) / h) * rows).astype(int)
    edges_x = np.round((box.left + box.width * np.arange(w + 1) / w) * columns).astype(int)
    digits = np.full(grid, BACKGROUND)
    for y in range(h):
        for x in range(w):
            if min(edges_y[y], edges_x[x]) < 0 or edges_y[y + 1] > rows or edges_x[x + 1] > columns:
                continue
            cell = pixels[edges_y[y] : edges_y[y + 1], edges_x[x] : edges_x[x + 1]]
            if (cell == cell[0, 0]).all():
                digits[y, x] = cell[0, 0]
    return digits
