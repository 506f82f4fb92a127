"""What does a store hold, all of it?"""

from __future__ import annotations

import re

import numpy as np

from storage import (
    LabelStore,
)
from tests.storage.contract.samples import KEYS


def everything(store: LabelStore) -> list[np.ndarray]:
    labels = store.read(range(len(store)))
    rows = np.array([store.find(key) for key in KEYS])
    return [labels.classes, labels.scores, labels.boxes, labels.sizes, labels.status, store.targets, rows]


def one_of_each_kind(store: LabelStore) -> list[str]:
    """Names of objects, of those that differ in their numbers only the first."""
    return list({re.sub(r"\d+", "N", name): name for name in reversed(list(store.backend.object_names()))}.values())
