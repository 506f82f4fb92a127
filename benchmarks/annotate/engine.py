"""What does handing out shards cost, beside the work itself? `python -m benchmarks.annotate.engine`"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from annotate.cluster.ray_workers import RayWorkers
from annotate.jobs.labelling.shard import Shard, commit_shard
from demo.markdown import section
from storage import LabelMap, Record, Schema, Status, create_store

SHARDS, WORKERS = 1252, 2  # of ImageNet's training pictures, 1,024 in each
ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Nothing:
    """A job that does nothing with a shard."""

    def start(self) -> Callable[[Shard], Record]:
        """Nothing to make ready."""
        return lambda shard: Record(start=shard.rows.start, stop=shard.rows.stop, labelled=len(shard.rows))


@dataclass(frozen=True, slots=True)
class Engine:
    """Seconds.

    starting: until the first of all shards is done: Ray, its workers, one shard
    handing:  from then until all are done
    writing:  of each shard of one small label: all its objects, its record, and the question whether it is there
    """

    starting: float
    handing: float
    writing: list[float]

    def describe(self) -> str:
        """The table in Markdown."""
        middle, most = np.median(self.writing) * 1e3, np.quantile(self.writing, 0.9) * 1e3
        rows = [
            [f"start Ray and {WORKERS} workers, until the first shard is done", f"{self.starting:.2f} s"],
            [f"hand out and take back {SHARDS:,} empty shards", f"{self.handing:.2f} s"],
            ["of that each", f"{self.handing / SHARDS * 1e3:.2f} ms"],
            [
                "look for, write and commit a small shard",
                f"{middle:.2f} ms (nine of ten below {most:.2f})",
            ],
        ]
        return section(
            "The engine, without the work",
            ["", ""],
            rows,
            f"{SHARDS:,} shards are the training pictures of ImageNet, 1,024 in each. One run; the last line is of "
            f"{len(self.writing)} shards in a local store.",
        )


def measure(*, shards: int = SHARDS, rounds: int = ROUNDS) -> Engine:
    """Hand out so many empty shards, and write so many small ones."""
    tasks = [Shard(range(n, n + 1), ()) for n in range(shards)]
    began, first = time.perf_counter(), 0.0
    for _ in tqdm(RayWorkers(WORKERS).map(Nothing(), tasks), total=shards, desc="empty shards", leave=False):
        first = first or time.perf_counter()
        last = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        schema = Schema(grid=(1, 1), k=1, class_count=10, rows_per_shard=1)
        store = create_store(Path(folder, "labels.zarr"), schema, [f"{n}" for n in range(rounds)])
        label = LabelMap(
            np.zeros((1, 1, 1, 1), np.uint16),
            np.ones((1, 1, 1, 1), np.float32),
            np.array([[0, 0, 1, 1]], np.float32),
            np.array([[10, 10]], np.uint32),
            np.array([Status.LABELLED], np.uint8),
        )
        writing = []
        for task in tasks[:rounds]:
            started = time.perf_counter()
            commit_shard(store, task, lambda _: (label, {}), run="", about={})
            writing.append(time.perf_counter() - started)
    return Engine(first - began, last - first, writing)


def main() -> None:
    """Measure, and print the table."""
    print(measure().describe())


if __name__ == "__main__":
    main()
