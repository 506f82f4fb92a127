"""Is the speed over time that of the records, and is a guess at what is in work a good one?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from annotate.jobs.watching.history import History
from storage import LabelStore, Record, create_store
from tests.annotate.jobs.watching.job import SCHEMA

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return create_store(str(tmp_path / "labels.zarr"), SCHEMA, [f"{n}" for n in range(80)])


def taken(store: LabelStore, *shards: tuple[int, str, float, float]) -> History:
    """A history of shards: number, worker, and the seconds after the start at which each began and ended."""
    history = History(store)
    for shard, worker, begun, finished in shards:
        rows = store.rows_of(shard)
        run = {
            "worker": worker,
            "seconds": finished - begun,
            "finished": (START + timedelta(seconds=finished)).isoformat(timespec="seconds"),
        }
        history.take(shard, Record(start=rows.start, stop=rows.stop, labelled=len(rows), run=run))
    return history


def test_the_speed_is_that_of_all_who_work_at_a_time(store: LabelStore) -> None:
    found = taken(store, (0, "a:1", 0, 10), (1, "b:2", 0, 20), (2, "a:1", 10, 20)).speeds(2, ["a:1", "b:2"])
    assert found is not None
    assert [found.of[name].tolist() for name in ("", "a:1", "b:2")] == [[1.5, 1.5], [1.0, 1.0], [0.5, 0.5]]


def test_long_pauses_are_left_out_of_the_time(store: LabelStore) -> None:
    found = taken(store, (0, "a:1", 0, 10), (1, "a:1", 100_010, 100_020)).speeds(2, [])
    assert found is not None
    assert (found.pauses, found.stop - found.start, found.of[""].tolist()) == (100_000, 100_020, [1.0, 1.0])


def test_records_that_do_not_say_when_have_no_speed(store: LabelStore) -> None:
    history = History(store)
    rows = store.rows_of(0)
    history.take(0, Record(start=rows.start, stop=rows.stop, labelled=len(rows)))
    assert (history.speeds(2, []), history.in_work(0.0)) == (None, set())


def test_the_next_pending_shard_of_each_worker_is_probably_in_work(store: LabelStore) -> None:
    history = taken(store, (0, "a:1", 0, 10), (1, "b:2", 0, 12), (5, "c:3", 0, 11), (7, "d:4", 0, 12))
    now = (START + timedelta(seconds=14)).timestamp()
    assert history.in_work(now) == {2, 3, 6, 4}  # after the last comes the first that is pending
    assert history.in_work(now, {2}) == {3, 4, 6}  # a damaged one is in nobody's work
    assert history.in_work(now + 200) == set()  # they are silent for longer than their shards took


def test_it_keeps_no_more_failures_than_are_shown(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from annotate.jobs.watching import history as module
    from storage import Failure, Status

    monkeypatch.setattr(module, "_MOST_FAILURES", 3)
    history = History(store)
    for shard in (0, 1):
        rows = store.rows_of(shard)
        failures = tuple(Failure(row=row, status=Status.MISSING, reason="gone") for row in rows[:2])
        history.take(shard, Record(start=rows.start, stop=rows.stop, labelled=len(rows) - 2, failures=failures))
    assert [failure.row for failure in history.failures] == [0, 1, 10]
