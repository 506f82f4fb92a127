"""Is what was written to a store what is read from it?"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from storage import (
    KeyNotFoundError,
    LabelMap,
    LabelStore,
    NotLabelledError,
    Status,
    StoreError,
    open_store,
    verify,
)
from tests.labels import random_labels
from tests.storage.contract.fixtures import StoreFixtures
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS


class ReadingAndWriting(StoreFixtures):
    """Labels go in and come out, by rows and by keys."""

    def test_a_new_store_is_all_pending_and_holds_what_it_was_given(self, store: LabelStore, address: str) -> None:
        opened = open_store(address)
        assert opened.pending() == SHARDS
        assert opened.schema == SCHEMA
        assert list(opened.keys) == KEYS
        assert opened.targets.tolist() == list(range(10))
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

    def test_one_row_is_the_batch_of_it(self, full: LabelStore) -> None:
        for row in range(len(full)):
            one, batch = full[row], full.read([row])[0]
            assert one.kind == batch.kind
            for name in ("classes", "scores", "boxes", "sizes", "status"):
                mine, theirs = getattr(one, name), getattr(batch, name)
                assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
                assert mine.tobytes() == theirs.tobytes()

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

    def test_the_storage_says_when_a_shard_was_written(self, store: LabelStore, labels: LabelMap) -> None:
        began = time.time()
        store.write(SHARDS[1], labels[4:8])
        written = store.backend.written([0, 1, 2])
        assert written.keys() == {1}
        assert began - 2 <= written[1] <= time.time() + 2  # buckets tell whole seconds
        assert store.backend.written([]) == {}

    def test_writing_a_shard_again_changes_nothing(self, full: LabelStore, labels: LabelMap) -> None:
        first = full.backend.checksums(0)
        full.write(SHARDS[0], labels[0:4], run={"attempt": 2})
        assert full.backend.checksums(0) == first
        assert verify(full).state == "ok"

    @pytest.mark.parametrize("rows", [range(1, 5), range(8), range(8, 12), range(3), range(0)])
    def test_only_whole_shards_are_written(self, store: LabelStore, rows: range) -> None:
        with pytest.raises(StoreError, match="a shard is written whole"):
            store.write(rows, random_labels(np.random.default_rng(0), len(rows) or 1))

    def test_labels_of_another_shape_are_refused(self, store: LabelStore) -> None:
        with pytest.raises(
            StoreError,
            match=r"given probability labels, classes uint16 \(4, 6, 5, 2\); the store holds .* \(4, 6, 5, 3\)",
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
        assert verify(store).shards[0].problems == ()

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
        assert verify(store).shards[2].state == "ok"

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
        with pytest.raises(KeyNotFoundError):
            store.find("\udcff.jpg")  # what os.listdir gives for a name that is no UTF-8

    def test_rows_that_do_not_exist_are_an_index_error(self, full: LabelStore) -> None:
        for rows in ([10], [-1]):
            with pytest.raises(IndexError):
                full.read(rows)
            with pytest.raises(IndexError):
                full[rows[0]]
        with pytest.raises(TypeError, match="integers, not float64"):
            full.read(np.array([1.5]))

    def test_a_store_opened_for_reading_is_never_written_to(
        self, full: LabelStore, labels: LabelMap, address: str
    ) -> None:
        reader = open_store(address)
        uses: list[Callable[[], object]] = [
            lambda: reader.write(SHARDS[0], labels[0:4]),
            lambda: reader.backend.forget(0),
            lambda: reader.backend.rebuild(),
            lambda: reader.backend.write_object("README.md", b"mine"),
            lambda: reader.backend.delete_object("README.md"),
        ]
        for use in uses:
            with pytest.raises(StoreError, match="it was opened for reading"):
                use()
        assert verify(reader).state == "ok"

    def test_a_shard_that_is_forgotten_can_be_written_again(
        self, full: LabelStore, labels: LabelMap, address: str
    ) -> None:
        before = full.backend.checksums(1)
        full.backend.forget(1)
        assert open_store(address).pending() == [SHARDS[1]]
        with pytest.raises(NotLabelledError):
            full.read([4])
        full.write(SHARDS[1], labels[4:8])
        assert full.backend.checksums(1) == before
