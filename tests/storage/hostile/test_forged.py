"""Is a header or a record that somebody else wrote, checksum and all, checked before it is used?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from annotate.errors import AnnotateError
from annotate.exchange.export_tree import export_tree
from annotate.exchange.masks import export_masks
from storage import (
    DamageError,
    LabelMap,
    LabelStore,
    Publication,
    Record,
    Schema,
    StoreError,
    copy,
    create_store,
    finalize,
    merge,
    open_store,
    select,
    verify,
)
from storage.header import seal_of
from storage.keys.key import hash_keys
from storage.keys.key_index import build
from storage.record import check_run
from storage.zarr_backend.shard_writer import string_object
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tests.storage.hostile.folders import contents

DEEP: Any = {}
for _ in range(60):
    DEEP = {"a": [DEEP]}

HEADERS: list[dict[str, Any]] = [
    {"rows": -1},
    {"rows": "10"},
    {"rows": True},
    {"rows": 10.5},
    {"rows": 2**31 + 1},
    {"rows": 10**200},
    {"rows": 2**31, "schema.rows_per_shard": 1},
    {"rows": None},
    {"key_salt": -1},
    {"key_salt": 2**128},
    {"keys_sha256": 5},
    {"keys_sha256": "ab"},
    {"targets_sha256": ["0" * 64]},
    {"schema": None},
    {"schema": [1]},
    {"schema.grid": 6},
    {"schema.grid": ["6", "5"]},
    {"schema.grid": [6]},
    {"schema.grid": [6, -5]},
    {"schema.grid": [6, 10**9]},
    {"schema.grid": [10**30, 10**30]},
    {"schema.k": "3"},
    {"schema.k": 0},
    {"schema.class_count": 2**40},
    {"schema.class_count": "many"},
    {"schema.class_names": {"a": 1}},
    {"schema.class_names": [1] * 40},
    {"schema.target_names": "cat"},
    {"schema.rows_per_shard": 0},
    {"schema.rows_per_shard": 10**12},
    {"schema.rows_per_shard": "4"},
    {"schema.scores": ["probability"]},
    {"schema.score_type": 8},
    {"schema.recipe": "secret"},
    {"schema.recipe": DEEP},
    {"schema.provenance": None},
]


def forge_header(address: Path, change: dict[str, Any]) -> None:
    """Change fields of a header, and seal it again."""

    def changed(header: dict[str, Any]) -> dict[str, Any]:
        for name, value in change.items():
            *above, last = name.split(".")
            (header[above[0]] if above else header)[last] = value
        return header

    if address.suffix == ".zarr":
        document = json.loads((address / "zarr.json").read_text())
        header = changed(document["attributes"]["tokenlabel"])
        document["attributes"] |= {"tokenlabel": header, "tokenlabel:sha256": seal_of(header)}
        (address / "zarr.json").write_text(json.dumps(document))
        return
    with h5py.File(address / "store.h5", "r+") as file:
        header = changed(json.loads(file.attrs["tokenlabel"]))
        file.attrs["tokenlabel"] = np.bytes_(json.dumps(header))
        file.attrs["tokenlabel:sha256"] = np.bytes_(seal_of(header))


@pytest.mark.parametrize("change", HEADERS, ids=lambda change: json.dumps(change)[:60])
def test_a_header_of_other_types_or_sizes_is_damage_and_names_the_store(
    full: LabelStore, address: Path, change: dict[str, Any]
) -> None:
    forge_header(address, change)
    with pytest.raises(DamageError, match=r"the header of .*labels\.(zarr|h5) is not one of format 1: "):
        open_store(address)
    with pytest.raises(StoreError):
        create_store(address, SCHEMA, KEYS)


def test_a_header_that_was_changed_without_its_seal_is_damage(tmp_path: Path) -> None:
    address = tmp_path / "changed.zarr"
    create_store(address, SCHEMA, KEYS)
    text = (address / "zarr.json").read_text()
    assert text.count('"class_count": 40') == 1
    (address / "zarr.json").write_text(text.replace('"class_count": 40', '"class_count": 41'))
    with pytest.raises(DamageError, match="is not the one that was written: its SHA-256 does not match"):
        open_store(address)


def test_whole_numbers_that_a_tool_wrote_with_a_fraction_are_whole(full: LabelStore, address: Path) -> None:
    forge_header(address, {"rows": 10.0, "schema.grid": [6.0, 5.0], "schema.k": 3.0, "schema.rows_per_shard": 4.0})
    assert open_store(address).schema == SCHEMA
    assert verify(open_store(address)).state in ("ok", "damaged")  # of HDF5 the file's own seal is broken


def test_more_rows_than_there_are_keys_take_no_memory(full: LabelStore, address: Path) -> None:
    """2^31 keys and targets that were never written would be fill: 34 GB of it."""
    forge_header(address, {"rows": 2**31, "schema.rows_per_shard": 2**20})
    store = open_store(address)
    for use in (lambda: store.keys, lambda: store.targets, lambda: store.find(KEYS[0])):
        with pytest.raises(DamageError):
            use()


RECORDS: list[dict[str, Any]] = [
    {"run": {"attempt": "first"}},
    {"run": {"attempt": 1e300}},
    {"run": {"seconds": "long"}},
    {"run": {"seconds": float("nan")}},
    {"run": {"seconds": 10**400}},
    {"run": {"worker": {"name": 1}}},
    {"run": {"finished": 2026}},
    {"run": ["attempt", 1]},
    {"run": None},
    {"run": DEEP},
    {"start": "4"},
    {"start": 4.5},
    {"start": 5},
    {"start": -4, "stop": 0},
    {"stop": 10**100},
    {"start": 0, "stop": 4},
    {"labelled": "all"},
    {"labelled": 3},
    {"labelled": 5},
    {"labelled": -1},
    {"failures": {"row": 4}},
    {"failures": [7]},
    {"labelled": 3, "failures": [{"row": 8, "status": "missing", "reason": "gone"}]},
    {"labelled": 3, "failures": [{"row": "4", "status": "missing", "reason": "gone"}]},
    {"labelled": 3, "failures": [{"row": 4, "status": "labelled", "reason": "gone"}]},
    {"labelled": 3, "failures": [{"row": 4, "status": 1, "reason": "gone"}]},
    {"labelled": 3, "failures": [{"row": 4, "status": "missing", "reason": 5}]},
    {"labelled": 2, "failures": [{"row": 4, "status": "missing", "reason": "gone"}] * 2},
    {"objects": []},
    {"objects": {}},
    {"objects": {"../../etc/passwd": "0" * 64}},
    {"objects": {"classes/c/1/0/0/0": 5}},
]


def forge_record(address: Path, shard: int, change: dict[str, Any]) -> None:
    """Put another record in the place of a shard's, with a checksum that holds."""
    text = json.dumps(json.loads(open_store(address).record(shard).to_text()) | change)
    if address.suffix == ".zarr":
        (address / f"shards/record/c/{shard}").write_bytes(string_object(text))
        return
    import hashlib

    with h5py.File(address / f"shards/{shard:06d}.h5", "r+") as file:
        file.attrs["record"] = np.bytes_(text)
        file.attrs["record_sha256"] = np.bytes_(hashlib.sha256(text.encode()).hexdigest())


@pytest.mark.parametrize("change", RECORDS, ids=lambda change: json.dumps(change)[:60])
def test_a_record_of_other_types_or_rows_is_damage_and_is_named(
    full: LabelStore, address: Path, change: dict[str, Any]
) -> None:
    forge_record(address, 1, change)
    name = "shards/record/c/1" if address.suffix == ".zarr" else "shards/000001.h5"
    for use in (lambda store: store.record(1), lambda store: store.read([5]), lambda store: list(store.records())):
        with pytest.raises(DamageError, match=f"the commit record .*{name}"):
            use(open_store(address))
    assert [report.state for report in verify(open_store(address)).shards] == ["ok", "damaged", "ok"]


def test_a_record_longer_than_its_rows_can_need_is_not_loaded(full: LabelStore, address: Path) -> None:
    if address.suffix == ".h5":
        forge_record(address, 1, {"run": {"note": "x" * 2**21}})
    else:
        with (address / "shards/record/c/1").open("r+b") as file:
            file.truncate(2**40)  # sparse: it takes no room on the disk
    with pytest.raises(DamageError, match=r"may have 81,920|at most 81,920 bytes"):
        open_store(address).record(1)


def test_fields_that_a_later_version_adds_are_ignored(full: LabelStore, address: Path) -> None:
    forge_record(address, 1, {"colour": "red", "run": {"colour": "red", "attempt": 1}})
    record = open_store(address).record(1)
    assert record is not None
    assert (record.rows, record.run["colour"]) == (SHARDS[1], "red")


def test_a_writer_is_refused_what_no_reader_would_take(full: LabelStore, labels: Any) -> None:
    with pytest.raises(StoreError, match="run: attempt is 'first', not a whole number from 0"):
        full.write(SHARDS[0], labels[0:4], run={"attempt": "first"})
    check_run({"attempt": 1, "anything": object()})


def test_a_schema_that_no_reader_would_take_is_not_made() -> None:
    with pytest.raises(ValueError, match="does not fit into the 17,179,869,184 bytes that a shard may have"):
        Schema(grid=(1024, 1024), k=100, class_count=1000, rows_per_shard=1024)


def test_a_record_names_itself() -> None:
    with pytest.raises(DamageError, match="the record of my shard is not a record"):
        Record.from_text("{", name="the record of my shard")


def a_store_of(address: Path, keys: list[str], labels: LabelMap, monkeypatch: pytest.MonkeyPatch) -> LabelStore:
    """A store whose keys nobody has checked, with all checksums right."""
    with monkeypatch.context() as unchecked:
        for backend in ("zarr", "hdf5"):
            unchecked.setattr(f"storage.{backend}_backend.creation.hash_sound_keys", hash_keys)
        store = create_store(address, SCHEMA, keys)
    for rows in SHARDS:
        store.write(rows, labels[rows.start : rows.stop])
    return open_store(address, writable=True)


@pytest.mark.parametrize("key", ["../victim/thesis.txt", "/etc/passwd", "", "a//b", "a/./b", "a/.."])
def test_a_key_that_leads_out_of_its_root_is_damage_and_names_its_row(
    address: Path, labels: LabelMap, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    store = a_store_of(address, [*KEYS[:3], key, *KEYS[4:]], labels, monkeypatch)
    with pytest.raises(DamageError, match=f"the keys of .* are not those of pictures: row 3 has the key {key!r}; a"):
        len(store.keys)
    assert verify(store).state == "damaged"
    before = contents(tmp_path)
    uses = (
        lambda: export_tree(store, tmp_path / "tree"),
        lambda: export_masks(store, tmp_path / "masks", "png"),
        lambda: select(store, [key], str(tmp_path / "selected.zarr")),
        lambda: merge([store], str(tmp_path / "merged.zarr")),
        lambda: copy(store, str(tmp_path / "copy.zarr")),
        lambda: finalize(store, Publication(name="a", source="b", licence="c")),
    )
    for use in uses:
        with pytest.raises((StoreError, AnnotateError)):
            use()
        after = {name: data for name, data in contents(tmp_path).items() if not name.startswith(address.name)}
        assert after == {name: data for name, data in before.items() if not name.startswith(address.name)}


def test_a_key_that_occurs_twice_is_damage(address: Path, labels: LabelMap, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as unchecked:
        unchecked.setattr("storage.keys.key_index.build", lambda _, salt=0: build(KEYS, salt=salt))
        store = a_store_of(address, [KEYS[1], *KEYS[1:]], labels, monkeypatch)
    assert any("row 1 has the key 'class 1/é 1.v1.jpg' again" in problem for problem in verify(store).shared)
