"""Which stores do the tests of unreadable and hostile ones start from? A finished one of each backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage import LabelMap, LabelStore, create_store
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS

SUFFIXES = ("zarr", "h5")


@pytest.fixture
def labels() -> LabelMap:
    return random_labels(np.random.default_rng(0), 10)


@pytest.fixture(params=SUFFIXES)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"labels.{request.param}"


@pytest.fixture
def full(address: Path, labels: LabelMap) -> LabelStore:
    store = create_store(address, SCHEMA, KEYS, list(range(10)))
    for rows in SHARDS:
        store.write(rows, labels[rows.start : rows.stop], run={"attempt": 1})
    return store


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of somebody else's, beside the store."""
    folder = tmp_path / "victim"
    (folder / "sub").mkdir(parents=True)
    (folder / "thesis.txt").write_text("precious")
    (folder / "sub" / "data").write_text("x")
    (folder / "0").write_text("0")
    return folder
