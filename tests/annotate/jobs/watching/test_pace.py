"""Is the speed of a store right while it is watched, whatever clocks do?"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from annotate.jobs.watching.pace import Pace

START = 1_000_000.0  # when watching begins, by the right clock


def _watched(clock_of_worker: Callable[[float], float], *, until: float, every: float = 5.0) -> list[float | None]:
    """The speeds at each reading of a job that began ten minutes before: a shard of 10 pictures every 20 s."""
    pace, shard, speeds = Pace(), 0, []
    for reading in range(int(until / every) + 1):
        now = reading * every
        while 20 * shard - 600 <= now:
            at = 20 * shard - 600
            pace.take(shard, "a:1", finished=START + at + clock_of_worker(at), seconds=20.0, rows=10)
            shard += 1
        speeds.append(pace.per_second(START + now, now))
    return speeds


@pytest.mark.parametrize("every", [5.0, 60.0, 900.0])
@pytest.mark.parametrize("step", [-7200, -3600, -300, -60, 60, 300, 3600])
def test_a_clock_that_is_set_while_a_store_is_watched_does_not_change_the_speed(step: float, every: float) -> None:
    for clock in (lambda at: step if at < 400 else 0, lambda at: 0 if at < 400 else step):
        speeds = _watched(clock, until=2700, every=every)
        if clock(0) < -600:  # like a machine that has stopped, until the next shard appears
            seen = math.ceil(20 / every)
            assert speeds[:seen] == [None] * seen
            speeds = speeds[seen:]
        assert speeds == [pytest.approx(0.5, rel=0.1)] * len(speeds)


def test_our_own_clock_may_be_set_as_well() -> None:
    pace = Pace()
    for shard in range(100):
        pace.take(shard, "a:1", finished=START + 20 * shard, seconds=20.0, rows=10)
        ours = START + 20 * shard + (3600 if shard > 50 else 0)
        assert pace.per_second(ours, 20.0 * shard) == pytest.approx(0.5)


def test_the_speeds_of_workers_at_work_are_added_until_one_ends() -> None:
    pace, speeds = Pace(), []
    for turn in range(30):
        pace.take(2 * turn, "a:1", finished=START + 20 * turn, seconds=20.0, rows=10)
        if turn < 10:
            pace.take(2 * turn + 1, "b:1", finished=START + 20 * turn, seconds=10.0, rows=10)
        speeds.append(pace.per_second(START + 20 * turn, 20.0 * turn))
    assert speeds[0] == pytest.approx(1 / 2 + 1)  # what the shards took is all that is known
    assert speeds[9] == pytest.approx(1 / 2 + 10 * 10 / (9 * 20 + 10))  # it waits ten seconds before each
    assert speeds[-1] == pytest.approx(1 / 2)
    assert pace.per_second(START + 700, 700.0) == pytest.approx(1 / 2)
    assert pace.per_second(START + 720, 720.0) is None


def test_a_record_that_is_read_again_is_no_work() -> None:
    pace = Pace()
    for reading in range(40):
        pace.take(7, "a:1", finished=START, seconds=20.0, rows=10)
        found = pace.per_second(START + 5 * reading, 5.0 * reading)
    assert found is None


def test_pauses_are_no_work() -> None:
    pace = Pace()
    for shard, at in enumerate((0, 20, 40, 400, 420)):
        pace.take(shard, "a:1", finished=START + at, seconds=20.0, rows=10)
    assert pace.per_second(START + 420, 0.0) == pytest.approx(0.5)
