"""Which stores do all tests of backends start from?"""

from __future__ import annotations

import numpy as np
import pytest

from storage import (
    LabelMap,
    LabelStore,
    create_store,
)
from storage.operations.manifest import MANIFEST
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS


class StoreFixtures:
    """Subclasses give four fixtures.

    address: a fresh address
    damage:  (name of an array / number of a shard, index) -> None, flips a bit of a byte; the index wraps around
    forget:  number of a shard -> None, removes its commit record
    age:     () -> None, makes the store say that it is of format 2

    A backend whose client does not survive a fork says so, and must then refuse to be used after one.
    """

    survives_a_fork = True
    flip_every = 5  # bytes; a bucket answers slowly
    flips_each = 12  # of an object of each kind
    may_be_gone: tuple[str, ...] = (MANIFEST,)  # whoever removes the manifest says no more than that there is none
    dies_in = "storage.zarr_backend.objects:Objects.set", 3  # a call in the midst of writing a shard, and which one

    @pytest.fixture
    def store(self, address: str) -> LabelStore:
        return create_store(address, SCHEMA, KEYS, list(range(10)))

    @pytest.fixture
    def labels(self) -> LabelMap:
        return random_labels(np.random.default_rng(0), 10)

    @pytest.fixture
    def full(self, store: LabelStore, labels: LabelMap) -> LabelStore:
        for rows in SHARDS:
            store.write(rows, labels[rows.start : rows.stop])
        return store
