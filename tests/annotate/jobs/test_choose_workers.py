"""Is a short job done in this process, and a long one by Ray's workers?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from annotate.jobs.choose_workers import MOST_PICTURES, RAY_STARTS, ChosenWorkers, choose_workers
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.workers import AT_ONCE, LocalWorkers, ShardOutcome, Workers
from storage import Record


class _Counted:
    """A job that labels nothing, and records which shards it had."""

    def __init__(self) -> None:
        self.rows: list[range] = []

    def start(self) -> Callable[[Shard], Record]:
        def label(shard: Shard) -> Record:
            self.rows.append(shard.rows)
            return _record(shard)

        return label


def _record(shard: Shard) -> Record:
    return Record(start=shard.rows.start, stop=shard.rows.stop, labelled=len(shard.rows))


def _shards(count: int, size: int) -> Iterator[Shard]:
    return (Shard(range(n * size, (n + 1) * size), [None] * size) for n in range(count))


def _never() -> float:
    raise AssertionError("not needed to decide")


@pytest.mark.parametrize(
    ("pictures", "seconds", "gpus", "local", "sentence"),
    [
        (36, 0.3, 0, True, "this process labels the pictures: 36 pictures take about 11 s"),
        (1, 0.3, 1, True, "1 picture takes about 1 s"),
        (36, 3.0, 0, False, "36 pictures take about 108 s in one process"),
        (36, RAY_STARTS / 36, 0, True, "about 12 s"),
    ],
)
def test_the_time_of_a_picture_decides(pictures: int, seconds: float, gpus: int, local: bool, sentence: str) -> None:
    found, why = choose_workers(pictures, lambda: seconds, gpus=gpus)
    assert (found, sentence in why) == (local, True), why


def test_many_pictures_and_many_gpus_need_no_measurement() -> None:
    assert choose_workers(3, _never, gpus=2) == (False, "Ray's workers label the pictures: there are 2 GPUs")
    assert choose_workers(MOST_PICTURES + 1, _never)[0] is False


@pytest.mark.parametrize(("seconds", "by_ray"), [(0.001, False), (10.0, True)])
def test_all_shards_are_labelled_by_who_was_chosen_and_one_line_says_who(seconds: float, by_ray: bool) -> None:
    job, said, started = _Counted(), list[str](), list[Workers]()

    def ray() -> Workers:
        started.append(LocalWorkers())
        return started[-1]

    workers = ChosenWorkers(ray, lambda: seconds)
    outcomes: list[ShardOutcome] = [*workers.map(job, _shards(9, 4), say=said.append)]
    # Several are in work at once.
    assert sorted(job.rows, key=lambda rows: rows.start) == [shard.rows for shard in _shards(9, 4)]
    assert len(outcomes) == 9
    assert bool(started) is by_ray
    assert [line.partition(" label")[0] for line in said] == ["Ray's workers" if by_ray else "this process"]


def test_a_large_job_is_not_read_to_its_end_before_it_begins() -> None:
    coming = _shards(1000, 1000)
    workers = ChosenWorkers(LocalWorkers, _never)
    next(iter(workers.map(_Counted(), coming)))
    assert next(coming).rows.start <= AT_ONCE * 1000


def test_no_shard_starts_nobody() -> None:
    assert [*ChosenWorkers(_never, _never).map(_Counted(), [])] == []
