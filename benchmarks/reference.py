"""What is measured? Reference maps, made by a small network, as labels, a store, and the alternative's pickles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.names import key
from storage import LabelMap, LabelStore, Schema, Status, create_store

FILE = Path(__file__).with_name("reference_maps.npz")
PHOTOGRAPHS = Path(__file__).with_name("photograph_maps.npz")  # made by `python -m benchmarks.storage.photographs`
CLASS_COUNT = 1000
# As `annotate run` records a large network, so that the header has the usual size.
_RECIPE: dict[str, Any] = {
    "model": "dm_nfnet_f6.dm_in1k",
    "weights": "pretrained",
    "input_size": [576, 576],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "bicubic",
    "preprocess": "squash",
    "head": "local",
    "precision": "float32",
    "model_kwargs": {},
}
_PROVENANCE: dict[str, Any] = {
    "checkpoint": None,
    "head": "exact",
    "head_deviation": 1.2e-06,
    "software": {"tokenlabel": "0.1.0", "timm": "1.0.31", "torch": "2.15.0", "pillow": "13.0.0", "zarr": "3.1.6"},
}
_RUN = {
    "attempt": 1,
    "seconds": 41.236,
    "finished": "2026-01-31T12:00:00+00:00",
    "worker": "node7:4242",
    "device": "cuda",
}


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Maps of n pictures.

    classes:       uint16 [n, h, w, k], best first
    probabilities: float32 [n, h, w, k], of a softmax over all classes
    pickled:       float16 [n, 2, k, h, w], logits and class ids, as the authors of Token Labeling keep them
    """

    classes: NDArray[np.uint16]
    probabilities: NDArray[np.float32]
    pickled: NDArray[np.float16]

    @classmethod
    def load(cls, count: int | None = None, *, file: Path = FILE) -> Maps:
        """The first `count` maps of a file, or all. Where logits are not kept, logarithms stand for them."""
        with np.load(file) as arrays:
            classes, logs = arrays["classes"][:count], arrays["log_probabilities"][:count].astype(np.float32)
            logits = arrays["logits"][:count] if "logits" in arrays else logs.astype(np.float16)
        return cls(
            np.ascontiguousarray(classes.transpose(0, 2, 3, 1)),
            np.ascontiguousarray(np.exp(logs).transpose(0, 2, 3, 1)),
            np.stack([logits, classes.astype(np.float16)], axis=1),
        )

    def __len__(self) -> int:
        return len(self.classes)

    def labels(self, count: int) -> LabelMap:
        """Labels of this many pictures of common sizes: the maps, repeated."""
        number = np.arange(count)
        sizes = np.full((count, 2), (375, 500), np.uint32)
        sizes[::3, 0] = 333 + number[::3] * 37 % 168
        return LabelMap(
            classes=self.classes[number % len(self)],
            scores=self.probabilities[number % len(self)],
            boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1)),
            sizes=sizes,
            status=np.full(count, Status.LABELLED, np.uint8),
        )

    def schema(self, rows_per_shard: int) -> Schema:
        """The schema of a default store of these maps."""
        return Schema(
            grid=self.classes.shape[1:3],
            k=self.classes.shape[3],
            class_count=CLASS_COUNT,
            rows_per_shard=rows_per_shard,
            recipe=_RECIPE,
            provenance=_PROVENANCE,
        )


def write_store(maps: Maps, address: Path) -> LabelStore:
    """A finished store of the maps, with the shard size that `annotate run` would choose."""
    n = len(maps)
    targets = [row * CLASS_COUNT // n for row in range(n)]
    store = create_store(address, maps.schema(min(1024, max(1, n // 16))), [key(row, n) for row in range(n)], targets)
    labels = maps.labels(n)
    for rows in tqdm(store.shards(), desc="writing the maps", leave=False):
        store.write(rows, labels[rows.start : rows.stop], run=_RUN)
    return store


def write_pickles(maps: Maps, root: Path, count: int) -> list[Path]:
    """One `torch.save` a picture, in folders by class: the maps, repeated."""
    tensors = [torch.from_numpy(tensor).clone() for tensor in maps.pickled]
    paths = [(root / key(row, count)).with_suffix(".pt") for row in range(count)]
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True)
    for row, path in enumerate(tqdm(paths, desc="writing pickles", leave=False)):
        torch.save(tensors[row % len(tensors)], path)
    return paths
