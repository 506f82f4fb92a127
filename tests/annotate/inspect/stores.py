"""What do the tests of inspection read? Stores of labels that are known, and labels of quadrants."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from storage import Box, LabelMap, LabelStore, Schema, Status, create_store

COUNT = 12
NAMES = tuple(f"class {n}" for n in range(COUNT))


def a_store(
    path: Path, labels: LabelMap, *, targets: list[int] | None = None, keys: list[str] | None = None, **schema: object
) -> LabelStore:
    """A store of these labels, four rows a shard; their own classes are the annotator's."""
    about = {"class_names": NAMES, "target_names": NAMES, "class_count": COUNT, **schema}
    made = Schema(grid=labels.grid, k=labels.k, rows_per_shard=4, **about)
    n = len(labels)
    store = create_store(
        path, made, keys or [f"{row}.jpg" for row in range(n)], targets or [row % 5 for row in range(n)]
    )
    for rows in store.shards():
        part = labels[list(rows)]
        reasons = {row: "it is broken" for row, status in zip(rows, part.status, strict=True) if status}
        store.write(rows, part, reasons=reasons)
    return store


def quadrants(size: tuple[int, int]) -> np.ndarray:
    """Which of four classes each pixel of a picture shows, [H, W]."""
    height, width = size
    lower, right = np.arange(height) >= height / 2, np.arange(width) >= width / 2
    return 2 * lower[:, None] + right[None]


def quadrant_label(box: Box, size: tuple[int, int], grid: tuple[int, int] = (8, 8)) -> LabelMap:
    """A sure label that names the quadrant in the middle of each location; of no class where there is no picture."""
    y = box.top + box.height * (np.arange(grid[0]) + 0.5) / grid[0]
    x = box.left + box.width * (np.arange(grid[1]) + 0.5) / grid[1]
    classes = (2 * (y >= 0.5)[:, None] + (x >= 0.5)[None]).astype(np.uint16)[..., None]
    return LabelMap(
        classes=classes,
        scores=np.ones((*grid, 1), np.float32),
        boxes=np.array(box.edges, np.float32),
        sizes=np.array(size, np.uint32),
        status=np.array(Status.LABELLED, np.uint8),
    )


BOXES = {  # as for a picture of 240x80, on a square input
    "squash": lambda wide: Box.whole(),
    "letterbox": lambda wide: Box(-1, 0, 2, 1) if wide else Box(0, -1, 1, 2),
    "center": lambda wide: Box(0, 1 / 3, 1, 2 / 3) if wide else Box(1 / 3, 0, 2 / 3, 1),
}
