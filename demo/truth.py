"""Are the labels right? Held against the truth that nothing in training reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from demo.scenes import BACKGROUND
from storage import LabelStore


def label_truth(store: LabelStore, truth: Path) -> tuple[int, int]:
    """Of the label cells that lie wholly inside a digit: how many name that digit, and how many there are.

    Args:
        store: labels of a split of the scenes.
        truth: the folder of that split's truth.
    """
    right = cells = 0
    h, w = store.schema.grid
    labels = store.read(range(len(store)))
    for n, key in enumerate(store.keys):
        pixels = np.asarray(Image.open((truth / key).with_suffix(".png")))
        box, (rows, columns) = labels[n].box, pixels.shape
        edges_y = np.round((box.top + box.height * np.arange(h + 1) / h) * rows).astype(int)
        edges_x = np.round((box.left + box.width * np.arange(w + 1) / w) * columns).astype(int)
        for y in range(h):
            for x in range(w):
                cell = pixels[edges_y[y] : edges_y[y + 1], edges_x[x] : edges_x[x + 1]]
                digit = cell[0, 0]
                if digit != BACKGROUND and (cell == digit).all():
                    cells += 1
                    right += int(labels.classes[n, y, x, 0] == digit)
    return right, cells
