"""Which property of labels matters to a student? Stores derived from one another, by one change each.

A variant has the same rows and pictures as its origin.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from storage import Box, LabelMap, Schema, create_store, open_store
from storage.labelmap import no_class
from tokenlabel import View, token_targets

Change = Callable[[LabelMap], LabelMap]


def truncated(k: int) -> Change:
    """Only the k best classes."""
    return lambda labels: replace(labels, classes=labels.classes[..., :k], scores=labels.scores[..., :k])


def coarsened(bits: int) -> Change:
    """Scores in steps of 1/2^bits of their square root; as in the store, the larger of first and remainder is computed.

    The store's own coding has 7 bits.
    """
    steps = 2**bits

    def change(labels: LabelMap) -> LabelMap:
        first, left = labels.scores[..., 0], labels.remainder
        written = labels.scores.astype(np.float64)
        written[..., 0] = np.minimum(first, left)
        written = (np.rint(np.sqrt(written) * steps) / steps) ** 2
        written /= np.maximum(written.sum(-1, keepdims=True), 1)
        scores = written.copy()
        scores[..., 0] = np.where(first >= left, 1 - written.sum(-1), written[..., 0])
        return _sorted(labels, labels.classes, scores, labels.boxes)

    return change


def averaged(grid: tuple[int, int]) -> Change:
    """Another grid over the whole picture: each location has the mean of those that it covers."""

    def change(labels: LabelMap) -> LabelMap:
        count, classes = len(labels), labels.k
        targets = token_targets(labels, [View.whole()] * count, grid, keep=classes)
        shape = (count, *grid, classes)
        scores = targets.probabilities[:, 1:].numpy().reshape(shape)
        named = np.where(scores > 0, targets.classes[:, 1:].numpy().reshape(shape), no_class(labels.classes.dtype))
        boxes = np.tile(np.array(Box.whole().edges, np.float32), (count, 1))
        return _sorted(labels, named, scores, boxes)

    return change


def write(origin: Path, address: Path, changes: Sequence[Change]) -> None:
    """Write a variant of a finished store, atomically. An existing one is left unchanged."""
    if address.exists():
        return
    store, unfinished = open_store(origin), address.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shards = store.schema.shards(len(store))

    def change(labels: LabelMap) -> LabelMap:
        for each in changes:
            labels = each(labels)
        return labels

    one = change(store.read(range(1)))
    schema: Schema = replace(store.schema, grid=one.grid, k=one.k)
    made = create_store(unfinished, schema, store.keys)
    for rows in shards:
        made.write(rows, change(store.read(rows)))
    os.replace(unfinished, address)


def _sorted(labels: LabelMap, classes: np.ndarray, scores: np.ndarray, boxes: np.ndarray) -> LabelMap:
    """These classes and scores, the best first."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    return replace(
        labels,
        classes=np.take_along_axis(classes, order, -1).astype(labels.classes.dtype),
        scores=np.take_along_axis(scores, order, -1).astype(np.float32),
        boxes=boxes,
    )
