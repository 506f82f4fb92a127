"""What must every backend keep? One class of tests, which each backend's tests inherit."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from storage import (
    DamageError,
    KeyNotFoundError,
    LabelMap,
    LabelStore,
    MismatchError,
    NotLabelledError,
    Schema,
    Status,
    StoreError,
    create_store,
    find_store,
    open_store,
    verify,
)
from tests.conftest import random_labels

SCHEMA = Schema(
    grid=(6, 5), k=3, class_count=40, rows_per_shard=4, recipe={"model": "resnet50", "input_size": [96, 80]}
)
KEYS = [f"class {n % 3}/é {n}.v1.jpg" for n in range(10)]
SHARDS = [range(4), range(4, 8), range(8, 10)]


class StoreContract:
    """Subclasses give three fixtures.

    address: a fresh address
    damage:  (name of an array / number of a shard, place) -> None, flips a bit of a byte; the place counts round
    forget:  number of a shard -> None, removes its commit record
    """

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

    def test_a_new_store_is_all_pending_and_holds_what_it_was_told(self, store: LabelStore, address: str) -> None:
        opened = open_store(address)
        assert opened.pending() == SHARDS
        assert opened.schema == SCHEMA
        assert list(opened.keys) == KEYS
        assert opened.column("targets").tolist() == list(range(10))
        assert set(opened.column("status").tolist()) == {Status.PENDING}

    def test_what_is_written_is_read(self, full: LabelStore, labels: LabelMap, address: str) -> None:
        read = open_store(address).read([9, 0, 5, 5])
        expected = labels[[9, 0, 5, 5]]
        known = read.scores > 0
        assert (read.classes[known] == expected.classes[known]).all()
        assert np.abs(read.scores - expected.scores).max() < 0.02
        assert (read.sizes == expected.sizes).all()
        assert (read.boxes == expected.boxes).all()
        assert (read.status == Status.LABELLED).all()

    def test_a_location_that_rounds_to_nothing_has_no_class(self, full: LabelStore) -> None:
        read = full.read(range(10))
        assert ((read.scores == 0) == (read.classes == 65535)).all()
        assert (read.scores[..., 1:] == 0).any()

    def test_rows_can_be_read_once_their_shard_is_committed_and_not_before(
        self, store: LabelStore, labels: LabelMap, address: str
    ) -> None:
        reader = open_store(address)
        store.write(SHARDS[1], labels[4:8])
        assert store.pending() == [SHARDS[0], SHARDS[2]]
        assert len(reader.read([4, 7])) == 2
        with pytest.raises(NotLabelledError, match="rows 0 to 4 .* have no labels yet"):
            reader.read([4, 3])

    def test_writing_a_shard_again_changes_nothing(self, full: LabelStore, labels: LabelMap) -> None:
        first = full.checksums(SHARDS[0])
        full.write(SHARDS[0], labels[0:4], run={"attempt": 2})
        assert full.checksums(SHARDS[0]) == first
        assert all(report.state == "ok" for report in verify(full))

    @pytest.mark.parametrize("rows", [range(1, 5), range(8), range(8, 12), range(3), range(0)])
    def test_only_whole_shards_are_written(self, store: LabelStore, rows: range) -> None:
        with pytest.raises(StoreError, match="a shard is written whole"):
            store.write(rows, random_labels(np.random.default_rng(0), len(rows) or 1))

    def test_labels_of_another_shape_are_refused(self, store: LabelStore) -> None:
        with pytest.raises(
            StoreError, match=r"the labels are uint16 \(4, 6, 5, 2\), the store holds .* \(4, 6, 5, 3\)"
        ):
            store.write(SHARDS[0], random_labels(np.random.default_rng(0), 4, k=2))

    def test_a_row_without_a_label_keeps_its_status_and_reason(self, store: LabelStore, labels: LabelMap) -> None:
        failed = LabelMap.unlabelled(Status.UNDECODABLE, grid=(6, 5), k=3, class_count=40)
        mixed = LabelMap.stack([labels[0], failed, labels[2], labels[3]])
        record = store.write(SHARDS[0], mixed, reasons={1: "the file is empty"})
        assert (record.labelled, [(f.row, f.status, f.reason) for f in record.failures]) == (
            3,
            [(1, Status.UNDECODABLE, "the file is empty")],
        )
        assert store.record(0) == record
        read = store.read([1, 0])
        assert read.status.tolist() == [Status.UNDECODABLE, Status.LABELLED]
        assert not read.scores[0].any()
        assert next(iter(verify(store))).problems == ()

    def test_a_row_without_a_label_and_a_reason_is_not_written(self, store: LabelStore) -> None:
        failed = LabelMap.unlabelled(Status.MISSING, grid=(6, 5), k=3, class_count=40)
        with pytest.raises(StoreError, match="row 9: it has no label, and no reason was given"):
            store.write(SHARDS[2], LabelMap.stack([failed] * 2), reasons={8: "gone"})
        assert store.pending() == SHARDS

    def test_a_shard_without_any_label_is_written_and_read(self, store: LabelStore) -> None:
        failed = LabelMap.unlabelled(Status.MISSING, grid=(6, 5), k=3, class_count=40)
        record = store.write(SHARDS[2], LabelMap.stack([failed] * 2), reasons={8: "gone", 9: "gone"})
        assert len(record.objects) == 5
        assert store.read([9]).status == [Status.MISSING]
        assert list(verify(store))[2].state == "ok"

    def test_what_is_not_committed_is_pending_in_every_column(
        self, full: LabelStore, address: str, forget: Callable[[int], None]
    ) -> None:
        forget(1)
        opened = open_store(address)
        assert opened.column("status").tolist() == [0] * 4 + [Status.PENDING] * 4 + [0] * 2
        assert not opened.column("sizes")[4:8].any()

    def test_find_gives_the_row_of_a_key(self, store: LabelStore) -> None:
        assert [store.find(key) for key in KEYS] == list(range(10))
        with pytest.raises(KeyNotFoundError, match="no row for the key 'nothing.jpg'"):
            store.find("nothing.jpg")

    def test_rows_that_do_not_exist_are_an_index_error(self, full: LabelStore) -> None:
        for rows in ([10], [-1]):
            with pytest.raises(IndexError):
                full.read(rows)

    def test_creating_an_equal_store_opens_it(self, full: LabelStore, address: str) -> None:
        again = create_store(address, replace(SCHEMA, provenance={"torch": "9"}), KEYS)
        assert again.pending() == []
        assert (found := find_store(address)) is not None
        assert found.schema == SCHEMA

    def test_creating_another_store_over_it_names_every_difference(self, full: LabelStore, address: str) -> None:
        other = replace(SCHEMA, k=2, grid=(3, 5), recipe={"model": "vgg", "input_size": [96, 80]})
        with pytest.raises(MismatchError) as caught:
            create_store(address, other, [*KEYS[:-1], "other.jpg"])
        assert caught.value.differences == (
            "grid: the store has [6, 5], this run has [3, 5]",
            "k: the store has 3, this run has 2",
            'recipe.model: the store has "resnet50", this run has "vgg"',
            "keys: in row 9 the store has 'class 0/é 9.v1.jpg', this run has 'other.jpg'",
        )

    @pytest.mark.parametrize(
        "key", ["", "/a.jpg", "a//b.jpg", "../a.jpg", "a/../b.jpg", "./a.jpg", "a\0b", "a\udc80.jpg"]
    )
    def test_keys_that_name_nothing_below_a_root_are_refused(self, address: str, key: str) -> None:
        with pytest.raises(StoreError, match="row 1 has the key"):
            create_store(address, SCHEMA, ["fine..jpg", key])

    def test_a_key_may_not_come_twice(self, address: str) -> None:
        with pytest.raises(StoreError, match="row 2 has the key 'a.jpg' again"):
            create_store(address, SCHEMA, ["a.jpg", "b.jpg", "a.jpg"])

    def test_a_store_travels_by_its_address(self, full: LabelStore) -> None:
        full.read([0])
        payload = pickle.dumps(full)
        assert len(payload) < 500
        assert (pickle.loads(payload).read([3]).classes == full.read([3]).classes).all()

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_it_can_be_read_in_child_processes(self, full: LabelStore, method: str) -> None:
        expected = full.read([9]).classes
        with get_context(method).Pool(2) as pool:
            for classes in pool.map(_read_last, [full] * 4):
                assert (classes == expected).all()

    def test_different_shards_can_be_written_at_once(self, store: LabelStore, labels: LabelMap) -> None:
        with get_context("spawn").Pool(3) as pool:
            pool.starmap(_write, [(store, rows, labels[rows.start : rows.stop]) for rows in SHARDS])
        assert [report.state for report in verify(store)] == ["ok"] * 3

    def test_damage_is_found_and_never_served(
        self, full: LabelStore, address: str, damage: Callable[[str, int], None]
    ) -> None:
        for name in ("classes", "scores", "boxes", "status"):
            for shard, rows in enumerate(SHARDS):
                good = full.read(rows)
                damage(f"{name}/{shard}", 3)
                states = [report.state for report in verify(open_store(address))]
                assert states[shard] == "damaged", (name, shard)
                try:
                    served = open_store(address).read(rows)
                except StoreError:
                    pass
                else:  # the byte was of a row's neighbour, or of nothing
                    assert (served.classes == good.classes).all()
                damage(f"{name}/{shard}", 3)
        assert [report.state for report in verify(open_store(address))] == ["ok"] * 3

    def test_no_byte_of_a_shard_can_change_a_label(
        self, full: LabelStore, address: str, damage: Callable[[str, int], None]
    ) -> None:
        """Bytes of chunks, of their checksums and of the index, some hundreds of them, each flipped alone."""
        good = full.read(SHARDS[0])
        for place in range(0, 600, 5):
            damage("classes/0", place)
            try:
                served = open_store(address).read(SHARDS[0])
            except DamageError:
                pass
            else:
                assert (served.classes == good.classes).all(), place
            damage("classes/0", place)


def _read_last(store: LabelStore) -> np.ndarray:
    return store.read([9]).classes


def _write(store: LabelStore, rows: range, labels: LabelMap) -> None:
    store.write(rows, labels)
