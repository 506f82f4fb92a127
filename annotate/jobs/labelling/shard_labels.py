"""How are the batches of a shard collected? In one set of arrays, into which each batch writes its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from annotate.errors import PictureError
from annotate.model.annotator import NOT_FINITE
from storage import LabelMap, Status
from storage.labelmap import class_dtype, no_class


class Shape(Protocol):
    """What decides the shape of the labels; see `Annotator`."""

    grid: tuple[int, int]
    k: int
    class_count: int


class ShardLabels:
    """The labels of a shard while they are made, each row written once.

    reasons: for each row without a label, why

    Args:
        rows: the rows of the shard.
        shape: what decides the shape of the labels, such as an `Annotator`.
    """

    def __init__(self, rows: range, shape: Shape) -> None:
        n, (h, w), k = len(rows), shape.grid, shape.k
        dtype = class_dtype(shape.class_count)
        self._first = rows.start
        self._classes = np.full((n, h, w, k), no_class(dtype), dtype)
        self._scores = np.zeros((n, h, w, k), np.float32)
        self._boxes = np.full((n, 4), np.nan, np.float32)
        self._sizes = np.zeros((n, 2), np.uint32)
        self._status = np.full(n, Status.UNREADABLE, np.uint8)
        self.reasons: dict[int, str] = {}

    def write(self, rows: Sequence[int], labels: LabelMap) -> None:
        """Write the labels [len(rows), h, w, k] of a batch into these rows; a row without a label gets a reason."""
        at = np.asarray(rows) - self._first
        self._classes[at], self._scores[at] = labels.classes, labels.scores
        self._boxes[at], self._sizes[at], self._status[at] = labels.boxes, labels.sizes, labels.status
        for index in np.flatnonzero(labels.status != Status.LABELLED).tolist():
            self.reasons[rows[index]] = NOT_FINITE

    def leave_out(self, row: int, error: PictureError) -> None:
        """Leave a row without a label, for this reason."""
        self._status[row - self._first] = error.status
        self.reasons[row] = error.reason

    def label_map(self) -> LabelMap:
        """The labels of all rows, [n, h, w, k]; they share memory with this object."""
        return LabelMap(
            classes=self._classes,
            scores=self._scores,
            boxes=self._boxes,
            sizes=self._sizes,
            status=self._status,
        )
