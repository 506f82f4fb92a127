"""Which stores are the operations on whole stores tested with? A full one of each backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage import LabelStore, create_store
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS


@pytest.fixture(params=["labels.zarr", "labels.h5"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> LabelStore:
    store = create_store(tmp_path / request.param, SCHEMA, KEYS, list(range(10)))
    labels = random_labels(np.random.default_rng(0), 10)
    for rows in SHARDS:
        store.write(rows, labels[rows.start : rows.stop])
    return store


def damage(store: LabelStore, shard: int) -> None:
    """Overwrite an object of a shard: a chunk, or the file that holds all its arrays."""
    record = store.record(shard)
    assert record is not None
    first = next(iter(record.objects))
    name = next(name for name in store.backend.object_names() if f"{first}/".startswith(f"{name}/"))
    store.backend.write_object(name, b"nonsense")
