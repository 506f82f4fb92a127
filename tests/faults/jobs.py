"""What goes wrong in a worker, and when? Jobs that are killed, refused or delayed at a chosen moment."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np

from annotate.errors import LostDeviceError
from annotate.jobs.labelling.shard import Shard, commit_shard
from annotate.jobs.workers import Job
from storage import LabelMap, Record, Schema, StoreError, create_store, open_store
from storage.files.atomic_file import Prepared
from storage.zarr_backend.layout import RECORDS
from storage.zarr_backend.objects import Objects
from tests.labels import random_labels

Do = Callable[[Shard], Record]
PHASES = ("reading", "model", "between two arrays", "before the record", "after the record")
ROWS_PER_SHARD = 4


@dataclass(frozen=True)
class PaintedJob:
    """A job without a network: the labels of a row are random, seeded by its number. Everything else is real.

    seconds: the least time that a shard takes
    """

    address: str
    seconds: float = 0.0

    def start(self) -> Do:
        import ray

        store = open_store(self.address, writable=True)
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""

        def make(shard: Shard) -> tuple[LabelMap, Mapping[int, str]]:
            time.sleep(self.seconds)
            rng = np.random.default_rng(shard.rows.start)
            return random_labels(rng, len(shard.rows)), {}

        return lambda shard: commit_shard(store, shard, make, run="", about={"node": node})


@dataclass(frozen=True)
class Gated:
    """A job some of whose shards are not done before so many workers have started.

    folder: where each worker leaves its name
    gates:  from which shard on, how many workers
    """

    job: Job
    folder: Path
    gates: Mapping[int, int]

    def start(self) -> Do:
        do = self.job.start()
        (self.folder / str(os.getpid())).touch()

        def gated(shard: Shard) -> Record:
            number, deadline = shard.rows.start // ROWS_PER_SHARD, time.monotonic() + 120
            wanted = max((workers for first, workers in self.gates.items() if first <= number), default=0)
            while len(os.listdir(self.folder)) < wanted:
                assert time.monotonic() < deadline, "no other worker has started"
                time.sleep(0.05)
            return do(shard)

        return gated


def painted_store(address: str, shards: int) -> list[Shard]:
    """Create a store for a PaintedJob; its shards."""
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=ROWS_PER_SHARD)
    store = create_store(address, schema, [f"{row:06}" for row in range(shards * ROWS_PER_SHARD - 1)])
    return [Shard(rows, ()) for rows in store.shards()]


@dataclass(frozen=True)
class Dying:
    """A job whose workers are killed once in each of these shards: one in four before it is begun, one in four once it
    is committed, the others at a random moment of the first `seconds`."""

    job: Job
    shards: range
    seconds: float

    def start(self) -> Do:
        do = self.job.start()

        def dying(shard: Shard) -> Record:
            number = shard.rows.start // ROWS_PER_SHARD
            if shard.attempt > 1 or number not in self.shards:
                return do(shard)
            if number % 4 == 0:
                _die()
            if number % 4 == 1:
                do(shard)
                _die()
            moment = random.Random(shard.rows.start).uniform(0, self.seconds)
            threading.Timer(moment, _die).start()
            do(shard)
            time.sleep(60)  # finished, but not reported
            raise AssertionError("the worker was not killed")

        return dying


@dataclass(frozen=True)
class Poisoned:
    """A job whose workers are killed in each attempt of some shards. It is here, where nothing imports torch, because
    each new worker imports this file.

    rows: the first of each such shard
    lost: the workers live on, but fail at these shards and at all that follow, as after an error of CUDA
    """

    job: Job
    rows: frozenset[int]
    lost: bool = False

    def start(self) -> Do:
        do, is_lost = self.job.start(), threading.Event()

        def poisoned(shard: Shard) -> Record:
            if shard.rows.start in self.rows:
                if not self.lost:
                    _die()
                is_lost.set()
            if is_lost.is_set():
                raise LostDeviceError("the GPU answers this process no more, since: CUDA error")
            return do(shard)

        return poisoned


@dataclass(frozen=True)
class DyingAt:
    """A real job whose worker is killed in each of these phases, once: the phase by the first row of its shard."""

    job: Job
    phases: Mapping[int, str]

    def start(self) -> Do:
        from annotate.images.sources.folder import FolderReader
        from annotate.model.annotator import Annotator

        do, armed = self.job.start(), {"phase": ""}

        def before(kind: type, name: str, phase: str, where: Callable[..., bool] = lambda *_: True) -> None:
            original = getattr(kind, name)

            def replaced(*args: object, **named: object) -> object:
                if armed["phase"] == phase and where(*args):
                    _die()
                answer = original(*args, **named)
                if armed["phase"] == f"after {phase}" and where(*args):
                    _die()
                return answer

            setattr(kind, name, replaced)

        before(FolderReader, "read", "reading")
        before(Annotator, "start", "model")
        before(Objects, "set", "between two arrays", lambda _, name, __: name.startswith("scores/"))
        before(Objects, "set", "before the record", lambda _, name, __: name.startswith(RECORDS))

        def dying(shard: Shard) -> Record:
            phase = self.phases.get(shard.rows.start, "") if shard.attempt == 1 else ""
            armed["phase"] = "after before the record" if phase == "after the record" else phase
            return do(shard)

        return dying


@dataclass(frozen=True)
class Refused:
    """A job in whose workers every n-th write is refused, loses its response or is slow, or every n-th read fails.

    Each worker counts for itself.
    """

    job: Job
    how: Literal["refused", "lost", "slow", "unread"]
    every: int

    def start(self) -> Do:
        original, read, how, every = Objects.set, Objects.get, self.how, self.every
        numbers = count(1)  # `next` is atomic: a worker's shards are written in several threads

        def unreadable(objects: Objects, name: str, **limits: int) -> bytes | None:
            if next(numbers) % every == 0:
                raise StoreError(f"cannot read {name}: 503 slow down")
            return read(objects, name, **limits)

        def fickle(objects: Objects, name: str, data: bytes | Prepared) -> None:
            fails = next(numbers) % every == 0
            if fails and how == "refused":
                raise StoreError(f"cannot write {name}: 503 slow down")
            if fails and how == "slow":
                time.sleep(2)
            original(objects, name, data)
            if fails and how == "lost":
                raise StoreError(f"cannot write {name}: the connection was closed")

        if how == "unread":
            Objects.get = unreadable  # type: ignore[method-assign]
        else:
            Objects.set = fickle  # type: ignore[method-assign]
        return self.job.start()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
