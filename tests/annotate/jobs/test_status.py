"""Does a store alone say how far it is, and how fast?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from annotate.errors import AnnotateError
from annotate.jobs.status import StatusWatcher
from annotate.jobs.watching.history import History
from storage import (
    LabelMap,
    LabelStore,
    Schema,
    Status,
    StoreError,
    UnreadableError,
    create_store,
    name_classes,
    open_store,
)
from tests import s3
from tests.labels import random_labels


def test_speed_and_time_left_are_those_of_the_last_minutes(tmp_path: Path) -> None:
    """A shard of yesterday says nothing about now; two of 10 pictures took 5 s each, until 10 s ago and until now."""
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(tmp_path / "labels.zarr", schema, [f"{n}" for n in range(60)])
    now = datetime.now(UTC)
    watch = StatusWatcher(store)
    assert (watch.read().pending, watch.read().speed) == (60, None)
    watch = StatusWatcher(store)
    for shard, (ago, worker, attempt) in enumerate([(86_400, "a:1", 1), (10, "a:2", 1), (0, "b:2", 2)]):
        run = {
            "finished": (now - timedelta(seconds=ago)).isoformat(timespec="seconds"),
            "worker": worker,
            "seconds": 5.0,
            "attempt": attempt,
        }
        store.write(store.rows_of(shard), random_labels(np.random.default_rng(0), 10), run=run)
    found = watch.read()
    assert (found.labelled, found.pending, found.shards_pending, found.retried) == (30, 30, 3, 1)
    assert found.workers == {"a:1": (10, 2.0), "a:2": (10, 2.0), "b:2": (10, 2.0)}
    assert found.speed == pytest.approx(2 + 2)
    assert found.seconds_left is not None
    assert "pictures a second in the last minutes, " in found.describe()


def test_what_was_read_is_not_read_again(tmp_path: Path, monkeypatch) -> None:
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(tmp_path / "labels.zarr", schema, [f"{n}" for n in range(20)])
    store.write(range(10), random_labels(np.random.default_rng(0), 10))
    watch, asked = StatusWatcher(store), []
    original = type(store).record
    monkeypatch.setattr(type(store), "record", lambda self, shard: asked.append(shard) or original(self, shard))
    watch.read()
    watch.read()
    store.write(range(10, 20), random_labels(np.random.default_rng(0), 10))
    assert watch.read().pending == 0
    assert asked == [0, 1]


def test_a_record_that_is_damaged_is_counted_and_named(tmp_path: Path) -> None:
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(tmp_path / "labels.zarr", schema, [f"{n}" for n in range(10)])
    store.write(range(10), random_labels(np.random.default_rng(0), 10))
    record = tmp_path / "labels.zarr/shards/record/c/0"
    record.write_bytes(record.read_bytes()[:-9])
    found = StatusWatcher(store).read()
    assert (found.damaged, found.pending, found.shards_pending) == (1, 10, 1)
    assert "1 commit records cannot be read" in found.describe()


def test_a_record_that_cannot_be_read_now_is_an_error_and_no_damage(tmp_path: Path) -> None:
    store = _store_of_workers(tmp_path / "labels.zarr", 0)
    record = tmp_path / "labels.zarr/shards/record/c/3"
    sound = record.read_bytes()
    record.unlink()
    record.symlink_to(record)  # to itself: the system does not open it
    watch = StatusWatcher(store)
    with pytest.raises(UnreadableError, match="shards/record/c/3"):
        watch.read()
    record.unlink()
    record.write_bytes(sound)
    assert (watch.read().damaged, watch.read().labelled) == (0, 100)


def _store_of_workers(path: Path, ahead: float, ago: float = 0.0) -> LabelStore:
    """Ten of twenty shards of 10 pictures, by a worker that takes 20 s for each and whose clock is ahead."""
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(path, schema, [f"{n}" for n in range(200)])
    for shard in range(10):
        _write(store, shard, ahead - ago - 20 * (9 - shard))
    return store


def _write(store: LabelStore, shard: int, seconds: float) -> None:
    finished = datetime.now(UTC) + timedelta(seconds=seconds)
    run = {"finished": finished.isoformat(timespec="seconds"), "worker": "a:1", "seconds": 20.0, "attempt": 1}
    store.write(store.rows_of(shard), random_labels(np.random.default_rng(0), 10), run=run)


@pytest.mark.parametrize("step", [-3600, -300, -90, 90, 300, 3600])
def test_a_clock_that_was_set_does_not_change_the_speed(tmp_path: Path, step: float) -> None:
    """It was ahead or behind until five minutes ago: 60 of 70 shards of 20 s each, by one worker."""
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(tmp_path / "labels.zarr", schema, [f"{n}" for n in range(700)])
    for shard in range(60):
        ago = 20 * (59 - shard)
        _write(store, shard, (step if ago > 300 else 0) - ago)
    assert StatusWatcher(store).read().speed == pytest.approx(10 / 20, rel=0.2)


@pytest.mark.parametrize("ahead", [-300, -30, 0, 30, 300, 90_000])
def test_a_clock_that_is_wrong_does_not_change_the_speed(tmp_path: Path, ahead: float) -> None:
    found = StatusWatcher(_store_of_workers(tmp_path / "labels.zarr", ahead)).read()
    assert found.speed == pytest.approx(10 / 20, rel=0.2)


def test_a_clock_that_is_hours_behind_is_found_out_while_watching(tmp_path: Path) -> None:
    store = _store_of_workers(tmp_path / "labels.zarr", -7200, ago=20)
    watch = StatusWatcher(store)
    assert watch.read().speed is None
    _write(store, 10, -7200)
    assert watch.read().speed == pytest.approx(10 / 20, rel=0.2)


def test_a_record_that_was_damaged_or_away_is_counted_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _store_of_workers(tmp_path / "labels.zarr", 0)
    records = tmp_path / "labels.zarr/shards/record/c"
    sound = {number: (records / number).read_bytes() for number in ("3", "4")}
    (records / "3").write_bytes(sound["3"][:-9])
    (records / "4").unlink()
    monkeypatch.setattr(type(store), "committed", lambda self: frozenset(range(10)))  # a listing that is a little old
    watch = StatusWatcher(store)
    for _ in range(2):
        found = watch.read()
        assert (found.damaged, found.pending, found.shards_pending, found.is_at_rest) == (1, 120, 12, False)
    for number, data in sound.items():
        (records / number).write_bytes(data)
    found = watch.read()
    assert (found.damaged, found.pending, found.shards_pending) == (0, 100, 10)


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
def test_a_store_that_is_gone_is_an_error_until_it_is_back(tmp_path: Path, suffix: str) -> None:
    store = _store_of_workers(tmp_path / f"labels.{suffix}", 0)
    watch = StatusWatcher(store)
    assert watch.read().pending == 100
    Path(store.address).rename(tmp_path / "away")
    for empty in (False, True):  # deleted, or a bare mount point
        if empty:
            Path(store.address).mkdir()
        with pytest.raises(StoreError, match="is gone: its folder, or its own header in it, is not there"):
            watch.read()
    Path(store.address).rmdir()
    (tmp_path / "away").rename(store.address)
    assert (watch.read().pending, watch.read().speed) == (100, pytest.approx(10 / 20, rel=0.2))


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
def test_another_store_at_the_address_is_an_error_and_other_names_of_classes_are_none(
    tmp_path: Path, suffix: str
) -> None:
    store = _store_of_workers(tmp_path / f"labels.{suffix}", 0)
    watch = StatusWatcher(store)
    name_classes(open_store(store.address, writable=True), [f"class {n}" for n in range(40)])
    assert watch.read().pending == 100
    Path(store.address).rename(tmp_path / "away")
    create_store(store.address, store.schema, [f"other {n}" for n in range(200)])
    with pytest.raises(AnnotateError, match="another store is at .* now: its header is not that of the store"):
        watch.read()


def test_a_store_that_is_gone_from_its_bucket_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    with s3.server() as server:
        for name, value in s3.environment(server).items():
            monkeypatch.setenv(name, value)
        store = create_store(f"s3://{s3.BUCKET}/watched.zarr", schema, ["a"])
        watch = StatusWatcher(store)
        assert watch.read().pending == 1
        for name in store.backend.object_names():
            store.backend.delete_object(name)
        with pytest.raises(StoreError, match="is gone"):
            watch.read()


def test_a_record_that_vanished_is_pending_again(tmp_path: Path) -> None:
    store = _store_of_workers(tmp_path / "labels.zarr", 0)
    history = History(store)
    watch = StatusWatcher(store, on_record=history.take)
    before = watch.read()
    record = tmp_path / "labels.zarr/shards/record/c/3"
    sound = record.read_bytes()
    record.unlink()
    found = watch.read()
    assert (found.labelled, found.pending, found.shards_pending, found.workers["a:1"][0]) == (90, 110, 11, 90)
    assert 3 not in history.shards
    record.write_bytes(sound)
    found = watch.read()
    assert (found.labelled, found.pending, found.workers) == (before.labelled, before.pending, before.workers)
    assert 3 in history.shards
    for each in (tmp_path / "labels.zarr/shards/record/c").iterdir():
        each.unlink()
    found = watch.read()
    assert (found.labelled, found.pending, found.shards_pending, found.workers) == (0, 200, 20, {})


def test_failures_that_are_labelled_again_while_a_store_is_watched_are_counted_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each reading some of the records with failures are read again; all of them where no run can do more."""
    monkeypatch.setattr("annotate.jobs.status._AGAIN", 2)
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(tmp_path / "labels.zarr", schema, [f"{n}" for n in range(60)])
    sound = random_labels(np.random.default_rng(0), 10)
    missing = LabelMap.unlabelled(Status.MISSING, grid=(6, 5), k=3, class_count=40)
    broken = LabelMap.stack([missing if n == 4 else sound[n] for n in range(10)])
    for shard in range(5):
        rows = store.rows_of(shard)
        store.write(rows, broken, reasons={rows.start + 4: "not there"})
    history = History(store)
    watch = StatusWatcher(store, on_record=history.take)
    assert (watch.read().reasons, len(history.failures)) == ({"missing": 5}, 5)
    for shard in range(5):
        store.write(store.rows_of(shard), sound)
    assert [watch.read().failed for _ in range(2)] == [3, 1]
    for shard in (0, 1, 2, 3):
        rows = store.rows_of(shard)
        store.write(rows, broken, reasons={rows.start + 4: "not there"})
    assert StatusWatcher(store).read().failed == 4
    for shard in range(6):
        store.write(store.rows_of(shard), sound)
    found = watch.read()
    assert (found.labelled, found.reasons, found.is_at_rest, history.failures) == (60, {}, True, [])
