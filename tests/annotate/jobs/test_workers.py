"""What becomes of a shard that fails, and of a store that refuses? Of workers that die, tests/faults asks."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from annotate.cluster.ray_workers import RayWorkers
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.workers import ATTEMPTS, Job, LocalWorkers
from annotate.model.recipe import Recipe
from storage import StoreError, open_store
from tests.annotate.jobs.conftest import label
from tests.conftest import contents


@dataclass(frozen=True)
class Faulty:
    """A real job that fails at one shard in its first attempts."""

    job: Job
    at: int
    attempts: int

    def start(self):
        do = self.job.start()

        def faulty(shard: Shard):
            if shard.rows.start == self.at and shard.attempt <= self.attempts:
                raise RuntimeError("out of luck")
            return do(shard)

        return faulty


@dataclass(frozen=True)
class FaultyWorkers:
    """Workers that do a faulty job."""

    workers: LocalWorkers
    at: int
    attempts: int
    count = 1
    about = "workers with faults"

    def map(self, job: Job, shards: Sequence[Shard], **named: object):
        yield from self.workers.map(Faulty(job, self.at, self.attempts), shards)


def test_a_shard_that_fails_is_tried_again(val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path):
    workers = FaultyWorkers(LocalWorkers(), at=8, attempts=ATTEMPTS - 1)
    summary = label(val, tmp_path / "labels.zarr", recipe, workers=workers)
    assert summary.complete
    assert open_store(tmp_path / "labels.zarr").record(1).run["attempt"] == ATTEMPTS
    assert contents(tmp_path / "labels.zarr") == contents(finished)


def test_a_shard_that_always_fails_is_given_up_and_the_next_run_tries_it_again(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path
) -> None:
    workers = FaultyWorkers(LocalWorkers(), at=8, attempts=99)
    summary = label(val, tmp_path / "labels.zarr", recipe, workers=workers)
    assert summary.given_up == ((range(8, 16), "RuntimeError: out of luck"),)
    assert (summary.labelled, summary.complete) == (22, False)
    assert open_store(tmp_path / "labels.zarr").pending() == [range(8, 16)]
    assert label(val, tmp_path / "labels.zarr", recipe).complete
    assert contents(tmp_path / "labels.zarr") == contents(finished)


@pytest.mark.parametrize("workers", [LocalWorkers(), RayWorkers(1)], ids=["local", "ray"])
def test_a_store_that_can_no_longer_be_written_ends_the_run(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path, workers: LocalWorkers | RayWorkers
) -> None:
    """To continue labelling would cost every picture's time three times, without any result."""
    store = Path(shutil.copytree(finished, tmp_path / "labels.zarr"))
    for shard in ("1", "2"):
        (store / "shards/record/c" / shard).unlink()
        (store / "scores/c" / shard / "0/0/0").unlink()
        (store / "scores/c" / shard / "0/0/0").mkdir()  # where the object should go
    with pytest.raises(StoreError, match=r"cannot write rows (8|16) to .* the same command continues here"):
        label(val, store, recipe, workers=workers)
