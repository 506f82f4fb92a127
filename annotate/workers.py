"""Who does the work? Actors of a Ray cluster, or this process itself, under one contract. Only this file knows Ray."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from annotate.errors import AnnotateError
from annotate.job import Shard
from storage import Record, StoreError

ATTEMPTS = 3  # of one shard, before it is given up and the others go on


class Job(Protocol):
    """What is done with a shard. `start` runs once in each worker."""

    def start(self) -> Callable[[Shard], Record]:
        """Make ready; the function to call for each shard."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """A shard that is done (it has a record), or given up (it has the reason)."""

    shard: Shard
    record: Record | None = None
    error: str = ""


class Workers(Protocol):
    """Hands shards to workers. A shard is tried up to ATTEMPTS times, each time from its beginning."""

    def map(self, job: Job, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """Give every shard one outcome, in the order in which they are finished.

        Raises:
            Exception: what `job.start` raised; a job that cannot start has no use for another worker.
            StoreError: a shard could not be written in its last attempt; where one cannot, the others cannot.
        """
        ...


class LocalWorkers:
    """This process itself: for tests, debuggers and profilers."""

    def map(self, job: Job, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """One shard after the other."""
        if not shards:
            return
        do = job.start()
        for shard in shards:
            for attempt in range(1, ATTEMPTS + 1):
                tried = replace(shard, attempt=attempt)
                try:
                    outcome = Outcome(tried, do(tried))
                    break
                except Exception as error:  # whatever else it is, the other shards go on
                    if isinstance(error, StoreError) and attempt == ATTEMPTS:
                        raise
                    outcome = Outcome(tried, error=f"{type(error).__name__}: {error}")
            yield outcome


class RayWorkers:
    """Actors of a Ray cluster, which is this machine unless an address is given.

    Ray restarts nothing by itself here: the driver hands out every attempt, and counts them. A worker has one shard at
    a time, so that it is known which shard a dead worker was at.

    Args:
        count: workers; by default one for each CPU core or, where there are GPUs, for each GPU.
        gpus_per_worker: by default 1 where there are GPUs.
        address: of a running cluster; "local" starts one for this job that ends with it.
    """

    def __init__(self, count: int | None = None, *, gpus_per_worker: float | None = None, address: str = "local"):
        self._count = count
        self._gpus_per_worker = gpus_per_worker
        self._address = address

    def map(self, job: Job, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """All shards over all workers."""
        if not shards:
            return
        # Before the import: Ray reads them then.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        ours = not ray.is_initialized()
        if ours:
            local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 128 * 2**20}
            ray.init(
                address=self._address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                **(local if self._address == "local" else {}),
            )
        try:
            yield from self._drive(job, deque(shards))
        finally:
            if ours:
                ray.shutdown()

    def _drive(self, job: Job, waiting: deque[Shard]) -> Iterator[Outcome]:
        import ray

        resources = ray.cluster_resources()
        gpus = resources.get("GPU", 0)
        gpus_per_worker = self._gpus_per_worker if self._gpus_per_worker is not None else float(gpus > 0)
        count = self._count or int(gpus / gpus_per_worker if gpus_per_worker else resources["CPU"])
        # One CPU each, whatever the machine has: asking for more workers than cores must not wait for ever.
        cpus = min(1.0, resources["CPU"] / count)
        make = ray.remote(num_cpus=cpus, num_gpus=gpus_per_worker, max_restarts=0, max_task_retries=0)(_Worker)
        handed_job = ray.put(job)
        busy: dict[Any, tuple[Any, Shard]] = {}
        idle: list[Any] = []
        started, fatal = False, set()
        try:
            while waiting or busy:
                while waiting and len(busy) < count:
                    worker = idle.pop() if idle else make.remote(handed_job)
                    shard = waiting.popleft()
                    busy[worker.do.remote(shard)] = worker, shard
                done, _ = ray.wait(list(busy), num_returns=1)
                worker, shard = busy.pop(done[0])
                try:
                    record = ray.get(done[0])
                except ray.exceptions.RayTaskError as error:
                    cause = error.cause
                    if isinstance(cause, _CannotStartError):
                        raise cause.reason from None
                    if isinstance(cause, StoreError) and shard.attempt == ATTEMPTS:
                        raise cause from None
                    idle.append(worker)
                    outcome = Outcome(shard, error=f"{type(cause).__name__}: {cause}")
                except ray.exceptions.RayActorError as error:
                    fatal.add(shard.rows)
                    if not started and len(fatal) >= ATTEMPTS:  # one alone may be poisoned; so many are not
                        raise AnnotateError(
                            f"workers died at each of {len(fatal)} shards, and none was labelled: {error}"
                        ) from error
                    outcome = Outcome(shard, error="the worker died")
                else:
                    started = True
                    idle.append(worker)
                    outcome = Outcome(shard, record)
                if outcome.record is None and shard.attempt < ATTEMPTS:
                    waiting.append(replace(shard, attempt=shard.attempt + 1))
                else:
                    yield outcome
        finally:
            for worker in [*idle, *(worker for worker, _ in busy.values())]:
                ray.kill(worker)


class _CannotStartError(Exception):
    """Carries what `job.start` raised from a worker to the driver."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


class _Worker:
    """The actor: starts the job with its first shard, so that the reason of a failure reaches the driver."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._do: Callable[[Shard], Record] | None = None

    def do(self, shard: Shard) -> Record:
        """Label one shard."""
        if self._do is None:
            try:
                self._do = self._job.start()
            except Exception as error:  # whatever it is, the driver raises it
                raise _CannotStartError(error) from error
        return self._do(shard)
