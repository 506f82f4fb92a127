"""Does a job lose nothing when its workers die? `make faults` kills more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from annotate.cluster.ray_workers import RayWorkers
from annotate.images import FolderImages
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.run import run
from annotate.jobs.workers import ATTEMPTS, Job, LocalWorkers, ShardOutcome, Workers
from annotate.model.recipe import Recipe
from storage import open_store
from tests.conftest import contents
from tests.faults.jobs import PHASES, Dying, DyingAt, PaintedJob, Poisoned, painted_store
from tests.faults.sound import undisturbed, whole

pytestmark = pytest.mark.usefixtures("one_ray")
ALL = os.environ.get("FAULTS") == "all"
KILLS = 220 if ALL else 12


@dataclass(frozen=True)
class With:
    """Workers that do a job after something was done to it."""

    workers: Workers
    change: Callable[[Job], Job]

    @property
    def count(self) -> int:
        return self.workers.count

    about = "with faults"

    def map(self, job: Job, shards: Iterator, **named: object) -> Iterator[ShardOutcome]:
        yield from self.workers.map(self.change(job), shards)


def test_workers_are_killed_at_random_moments(tmp_path: Path) -> None:
    """Before, within and after the writing of a shard: each is finished by the next, or was already finished."""
    address, shards = str(tmp_path / "labels.zarr"), KILLS + 2
    tasks = painted_store(address, shards)
    job = Dying(PaintedJob(address), range(2, shards), seconds=0.03)
    outcomes = list(RayWorkers(2).map(job, tasks))
    assert len(outcomes) == shards
    assert all(outcome.record for outcome in outcomes)
    attempts = [whole(address).record(n).run["attempt"] for n in range(2, shards)]
    assert set(attempts[3::4]) == {1}  # shards 5, 9, …: killed once they had their record, and not made again
    assert set(attempts[2::4]) == {2}  # shards 4, 8, …
    assert contents(Path(address)) == undisturbed(tmp_path, shards)


def test_a_worker_is_killed_in_each_phase_of_a_shard(
    scene_folder: Path, recipe: Recipe, finished: Path, tmp_path: Path
) -> None:
    """With a real network, while it reads, computes and writes."""
    store = tmp_path / "labels.zarr"
    source = FolderImages(scene_folder / "images" / "val")
    phases = dict(zip(range(4, 30, 4), PHASES, strict=False))
    workers = With(RayWorkers(2, at_once=1), lambda job: DyingAt(job, phases))  # a phase is that of one shard
    summary = run(source, str(store), recipe, workers, rows_per_shard=4)
    assert summary.complete
    made = {row: whole(store).record(row // 4).run["attempt"] for row in phases}
    assert made == {row: 1 if phase == "after the record" else 2 for row, phase in phases.items()}
    again = tmp_path / "again.zarr"
    run(source, str(again), recipe, LocalWorkers(), rows_per_shard=4)
    assert contents(store) == contents(again)


@pytest.mark.parametrize("lost", [False, True], ids=["worker", "GPU"])
def test_shards_that_always_kill_their_worker_are_given_up_and_the_rest_is_finished(lost: bool, tmp_path: Path) -> None:
    """Even the first of all, and again when nothing but them is left; and with a worker whose GPU answers no more."""
    address, poisoned = str(tmp_path / "labels.zarr"), [range(4), range(12, 16)]
    job = Poisoned(PaintedJob(address), frozenset(rows.start for rows in poisoned), lost)
    for tasks in (painted_store(address, 6), [Shard(rows, ()) for rows in poisoned]):
        outcomes = list(RayWorkers(2).map(job, tasks))
        lost = sorted((outcome for outcome in outcomes if outcome.record is None), key=lambda one: one.shard.rows.start)
        assert [one.shard.rows for one in lost] == poisoned
        assert {(one.shard.attempt, one.error) for one in lost} == {(ATTEMPTS, "the worker died")}
        assert open_store(address).pending() == poisoned


@pytest.mark.parametrize("count", [1, 2, 4])
def test_results_do_not_depend_on_how_many_are_at_work(count: int, tmp_path: Path) -> None:
    address = str(tmp_path / "labels.zarr")
    assert all(outcome.record for outcome in RayWorkers(count).map(PaintedJob(address), painted_store(address, 9)))
    assert contents(Path(address)) == undisturbed(tmp_path, 9)
