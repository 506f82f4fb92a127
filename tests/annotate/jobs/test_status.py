"""Does a store alone say how far it is, and how fast?"""

from __future__ import annotations

import os
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
    """A shard of yesterday says nothing about now; two of 10 pictures took 20 s each, until 10 s ago and until now."""
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(tmp_path / "labels.zarr", schema, [f"{n}" for n in range(60)])
    watch = StatusWatcher(store)
    assert (watch.read().pending, watch.read().speed) == (60, None)
    for shard, (ago, worker, attempt) in enumerate([(86_400, "a:1", 1), (10, "a:2", 1), (0, "b:2", 2)]):
        _write(store, shard, ago, worker=worker, attempt=attempt)
    found = StatusWatcher(store).read()
    assert (found.labelled, found.pending, found.shards_pending, found.retried) == (30, 30, 3, 1)
    assert found.workers == {"a:1": (10, 0.5), "a:2": (10, 0.5), "b:2": (10, 0.5)}
    assert found.speed == pytest.approx(20 / 30, rel=0.1)
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
    store = _store_of_workers(tmp_path / "labels.zarr")
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


def _store_of_workers(path: Path) -> LabelStore:
    """Ten of twenty shards of 10 pictures, by a worker that takes 20 s for each."""
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(path, schema, [f"{n}" for n in range(200)])
    for shard in range(10):
        _write(store, shard, 20 * (9 - shard))
    return store


def _write(
    store: LabelStore,
    shard: int,
    ago: float,
    *,
    worker: str = "a:1",
    ahead: float = 0.0,
    late: float = 0.0,
    attempt: int = 1,
) -> None:
    """A shard of 20 s of work: finished so many seconds ago; clocks of its machine and of the storage are wrong."""
    now = datetime.now(UTC)
    run = {
        "finished": (now + timedelta(seconds=ahead - ago)).isoformat(timespec="seconds"),
        "worker": worker,
        "seconds": 20.0,
        "attempt": attempt,
    }
    store.write(store.rows_of(shard), random_labels(np.random.default_rng(0), 10), run=run)
    of_zarr, at = Path(store.address) / f"shards/record/c/{shard}", now.timestamp() - ago - late
    os.utime(of_zarr if of_zarr.exists() else Path(store.address) / f"shards/{shard:06d}.h5", (at, at))


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
@pytest.mark.parametrize("step", [-7200, -300, -90, 90, 200, 300, 3600])
def test_a_clock_that_was_set_does_not_change_the_speed(tmp_path: Path, step: float, suffix: str) -> None:
    """It was ahead or behind until five minutes ago: 60 of 70 shards of 20 s each, by one worker."""
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(tmp_path / f"labels.{suffix}", schema, [f"{n}" for n in range(700)])
    for shard in range(60):
        ago = 20 * (59 - shard)
        _write(store, shard, ago, ahead=step if ago > 300 else 0)
    assert StatusWatcher(store).read().speed == pytest.approx(10 / 20, rel=0.05)


@pytest.mark.parametrize("late", [-86_400, -300, -30, 0, 30, 300])
@pytest.mark.parametrize("ahead", [-90_000, 0, 300])
def test_a_clock_that_is_wrong_does_not_change_the_speed(tmp_path: Path, ahead: float, late: float) -> None:
    """That of the worker, and that of the storage."""
    store = _store_of_workers(tmp_path / "labels.zarr")
    for shard in range(10):
        _write(store, shard, 20 * (9 - shard), ahead=ahead, late=late)
    assert StatusWatcher(store).read().speed == pytest.approx(10 / 20, rel=0.2)


def test_a_storage_whose_clock_is_hours_behind_is_found_out_while_watching(tmp_path: Path) -> None:
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(tmp_path / "labels.zarr", schema, [f"{n}" for n in range(200)])
    for shard in range(10):
        _write(store, shard, 20 * (10 - shard), late=7200)
    watch = StatusWatcher(store)
    assert watch.read().speed is None
    _write(store, 10, 0, late=7200)
    assert watch.read().speed == pytest.approx(10 / 20, rel=0.2)


def test_workers_that_ended_count_with_what_they_did(tmp_path: Path) -> None:
    """Fifteen ended six minutes ago, one goes on: what was finished in the last ten minutes, by ten minutes."""
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(tmp_path / "labels.zarr", schema, [f"{n}" for n in range(2000)])
    for shard in range(15):
        _write(store, shard, 360 + shard, worker=f"m{shard}:1")
    for shard in range(30):
        _write(store, 15 + shard, 20 * shard, worker="last:1")
    assert StatusWatcher(store).read().speed == pytest.approx((15 + 30) * 10 / 600, rel=0.1)


def test_a_copied_store_is_no_faster_than_its_workers(tmp_path: Path) -> None:
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
    store = create_store(tmp_path / "labels.zarr", schema, [f"{n}" for n in range(200)])
    for shard in range(10):
        _write(store, shard, 0, worker=f"a:{shard % 2}")  # all written now, by two workers of half a picture a second
    assert StatusWatcher(store).read().speed == pytest.approx(1.0)


def test_a_record_that_was_damaged_or_away_is_counted_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _store_of_workers(tmp_path / "labels.zarr")
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
    store = _store_of_workers(tmp_path / f"labels.{suffix}")
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
    store = _store_of_workers(tmp_path / f"labels.{suffix}")
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
    store = _store_of_workers(tmp_path / "labels.zarr")
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
