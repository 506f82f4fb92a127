"""Which published store do these tests read? A finalized one on a real web server, kept in a folder of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from storage import LabelStore, Publication, create_store, finalize
from tests.labels import random_labels
from tests.servers.web import Web, serving
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS


@pytest.fixture
def published(tmp_path: Path) -> LabelStore:
    """The store, in the folder that is served."""
    store = create_store(tmp_path / "web/labels.zarr", SCHEMA, KEYS, list(range(10)))
    labels = random_labels(np.random.default_rng(0), 10)
    for rows in SHARDS:
        store.write(rows, labels[rows.start : rows.stop])
    finalize(store, Publication(name="Labels", source="pictures", licence="CC0-1.0"))
    return store


@pytest.fixture
def web(published: LabelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("TOKENLABEL_CACHE", str(tmp_path / "cache"))
    with serving(tmp_path / "web") as server:
        yield server
