"""What does an interactive session show of a store and of what is in it? One short line, without reading anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import storage
from storage import (
    Box,
    KeyedFailure,
    LabelStore,
    Progress,
    ShardReport,
    ShardReports,
    Verification,
    create_store,
    open_store,
    verify,
)
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabelStore:
    monkeypatch.chdir(tmp_path)
    return create_store("labels.zarr", SCHEMA, KEYS)


def test_a_store_shows_its_address_its_rows_and_its_labels(store: LabelStore) -> None:
    assert repr(store) == "LabelStore('labels.zarr', 10 rows, 6 x 5 x 3 of 40 classes)"
    store.write(SHARDS[0], random_labels(np.random.default_rng(0), 4))
    store.write(SHARDS[2], random_labels(np.random.default_rng(0), 2))
    store.read([0])
    assert repr(store) == "LabelStore('labels.zarr', at least 6 of 10 rows written, 6 x 5 x 3 of 40 classes)"
    assert repr(store.backend) == "ZarrBackend('labels.zarr')"


def test_a_store_that_is_shown_reads_nothing(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_store("labels.zarr")
    for name in ("committed", "record", "load_keys", "load_targets", "fetch", "fetch_rows", "read_object"):
        monkeypatch.setattr(type(opened.backend), name, lambda *_: pytest.fail("it was read"))
    assert repr(opened) == "LabelStore('labels.zarr', 10 rows, 6 x 5 x 3 of 40 classes)"


def test_labels_show_shapes_and_not_arrays(store: LabelStore) -> None:
    labels = random_labels(np.random.default_rng(0), 4)
    assert (
        repr(labels)
        == "LabelMap(classes uint16 [4, 6, 5, 3], scores float32 [4, 6, 5, 3], probability, 4 of 4 labelled)"
    )
    assert repr(labels[0]).endswith("scores float32 [6, 5, 3], probability, 1 of 1 labelled)")


def test_a_schema_shows_neither_names_nor_recipe() -> None:
    schema = replace(SCHEMA, class_names=tuple(f"class {n}" for n in range(40)))
    assert repr(schema) == "Schema(6 x 5 x 3 of 40 classes, probability as uint8, 4 rows a shard)"


def test_records_and_reports_show_counts(store: LabelStore) -> None:
    record = store.write(SHARDS[0], random_labels(np.random.default_rng(0), 4))
    assert repr(record) == "Record(rows 0 to 4, 4 labelled, 0 failed)"
    found = verify(store)
    assert repr(found) == "Verification(pending, 0 shared problems, 3 shards)"
    assert repr(found.shards[0]) == "ShardReport(rows 0 to 4 ok)"
    damaged = ShardReport(rows=range(4), state="damaged", problems=("one",) * 1000)
    assert repr(damaged) == "ShardReport(rows 0 to 4 damaged, 1000 problems)"
    reports = ShardReports(store.header, {2: damaged})
    assert repr(reports) == "ShardReports(3 shards, 2 pending)"
    assert repr(Verification(shared=("one",), shards=reports)) == "Verification(damaged, 1 shared problems, 3 shards)"


def test_small_values_show_their_fields() -> None:
    assert repr(Box.whole()) == "Box(top=0.0, left=0.0, bottom=1.0, right=1.0)"
    assert repr(Progress(1, 2, 0)) == "Progress(done=1, total=2, failed=0)"
    assert (
        repr(KeyedFailure("a.jpg", "missing", "gone")) == "KeyedFailure(key='a.jpg', status='missing', reason='gone')"
    )


def test_every_public_class_has_a_repr_of_its_own() -> None:
    classes = [value for name in storage.__all__ if isinstance(value := getattr(storage, name), type)]
    assert len(classes) > 15
    assert [value.__name__ for value in classes if value.__repr__ is object.__repr__] == []
