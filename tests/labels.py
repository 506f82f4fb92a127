"""Which labels do the tests write? Random ones, peaked like a network's. Imports no network, so that it is quick."""

from __future__ import annotations

import numpy as np

from storage import LabelMap, Status


def random_labels(
    rng: np.random.Generator, n: int, *, grid: tuple[int, int] = (6, 5), k: int = 3, class_count: int = 40
) -> LabelMap:
    """Labels with peaked random scores, best first, as networks give them."""
    logits = rng.normal(size=(n, *grid, class_count)) * rng.uniform(0.5, 9, size=(n, *grid, 1))
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    classes = np.argsort(-probabilities, axis=-1)[..., :k]
    return LabelMap(
        classes=classes.astype(np.uint16),
        scores=np.take_along_axis(probabilities, classes, -1).astype(np.float32),
        boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1)),
        sizes=rng.integers(1, 600, (n, 2)).astype(np.uint32),
        status=np.full(n, Status.LABELLED, np.uint8),
    )
