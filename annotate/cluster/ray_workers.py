"""How do the workers of a Ray cluster share a job? The driver assigns them, counts attempts, and gives up at last."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from annotate.cluster.actors import LOSSES, Actors, MachineLostError, Worker, WorkerDiedError
from annotate.cluster.connection import LOCAL, connected, describe_machines, describe_privacy, machines
from annotate.errors import AnnotateError
from annotate.jobs.shard import Shard
from annotate.jobs.workers import ATTEMPTS, FATAL_ERRORS, Job, ShardOutcome
from storage import Record

_PATIENCE = 30.0  # seconds without a ready worker, after which a message says so


class RayWorkers:
    """Actors of a Ray cluster: of one that is started on this machine, unless an address is given.

    Ray itself restarts nothing: the driver assigns and counts every attempt. A worker has one shard at a time, so that
    the shard of a dead worker is known, and gets its first when it has started, so that no shard waits for a machine
    that never comes. If a machine is lost, that does not count as an attempt of its shard.

    count: how many workers are busy

    Args:
        count: how many workers; default: as many as the cluster has room for, changing with its size.
        gpus_per_worker: GPUs of each worker, a fraction of one is allowed; default: 1 if the cluster has GPUs.
        cpus_per_worker: CPUs of each worker; default: 1.
        address: address of a running cluster, or "auto" for the one that this machine belongs to; "local" starts a
            cluster for this job, which listens only on this machine's loopback and ends with the job.

    >>> from annotate import RayWorkers
    >>> RayWorkers(2)
    RayWorkers(2, address='local')
    """

    def __init__(
        self,
        count: int | None = None,
        *,
        gpus_per_worker: float | None = None,
        cpus_per_worker: float | None = None,
        address: str = LOCAL,
    ) -> None:
        self._wanted_count, self._address = count, address
        self._gpus_per_worker, self._cpus_per_worker = gpus_per_worker, cpus_per_worker
        self.count = 0

    def __repr__(self) -> str:
        """How many workers were asked for, and where."""
        count = "" if self._wanted_count is None else f"{self._wanted_count}, "
        return f"RayWorkers({count}address={self._address!r})"

    @property
    def about(self) -> str:
        """Where the work is done and who can see it, as a sentence."""
        return describe_privacy(self._address)

    def map(
        self, job: Job, shards: Iterable[Shard], *, say: Callable[[str], None] = lambda sentence: None
    ) -> Iterator[ShardOutcome]:
        """Label all shards with all workers; see `Workers.map`.

        Raises:
            AnnotateError: the cluster cannot be reached, no worker can start, or workers die at every shard.
        """
        coming = iter(shards)
        first = next(coming, None)
        if first is None:
            return
        with connected(self._address):
            try:
                yield from self._drive(job, chain([first], coming), say)
            finally:
                self.count = 0

    def _drive(self, job: Job, coming: Iterator[Shard], say: Callable[[str], None]) -> Iterator[ShardOutcome]:
        actors, verdict = Actors(self._actor_maker(job)), _Verdict(say)
        retries: deque[Shard] = deque()
        following = next(coming, None)
        idle_since = time.monotonic()
        try:
            while following or retries or actors.busy:
                room = self._room()
                actors.resize(room if following else min(room, len(retries) + len(actors.busy)))
                while actors.idle and (following or retries):
                    if following:
                        actors.assign(following)
                        following = next(coming, None)
                    else:
                        actors.assign(retries.popleft())
                self.count = len(actors.busy)
                if actors.busy:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > _PATIENCE:
                    idle_since = time.monotonic()
                    say(f"no worker is ready yet: {self._each_wants()}, and {describe_machines()}; waiting")
                for shard, result in actors.wait():
                    judged = verdict.on(shard, result)
                    if isinstance(judged, ShardOutcome):
                        yield judged
                    else:
                        retries.append(judged)
        finally:
            actors.end()

    def _actor_maker(self, job: Job) -> Callable[[], Any]:
        """The function that starts one actor for this job."""
        import ray

        resources = ray.cluster_resources()
        if self._gpus_per_worker is None:
            self._gpus_per_worker = float(resources.get("GPU", 0) > 0)
        # More workers than this machine has cores share them, or some would never start.
        if self._wanted_count and self._address == LOCAL:
            self._cpus_per_worker = min(self._cpus_per_worker or 1.0, resources["CPU"] / self._wanted_count)
        if self._address == LOCAL and not self._fitting():
            raise AnnotateError(
                f"cannot start a worker on this machine: {self._each_wants()}, and {describe_machines()}; give smaller "
                "--cpus-per-worker and --gpus-per-worker"
            )
        shared = ray.put(job)
        actor = ray.remote(num_cpus=self._cpus(), num_gpus=self._gpus_per_worker, max_restarts=0, max_task_retries=0)(
            Worker
        )
        return lambda: actor.remote(shared)

    def _cpus(self) -> float:
        return 1.0 if self._cpus_per_worker is None else self._cpus_per_worker

    def _each_wants(self) -> str:
        return f"each asks for {self._cpus():g} CPUs and {self._gpus_per_worker or 0:g} GPUs"

    def _room(self) -> int:
        """How many workers there should be now: at least one, because a cluster may grow when it is asked for more."""
        return self._wanted_count or max(1, self._fitting())

    def _fitting(self) -> int:
        """How many workers the machines have room for now."""
        wanted = [("CPU", self._cpus()), ("GPU", self._gpus_per_worker or 0.0)]
        return sum(
            min((int(node.get(name, 0) / each + 1e-6) for name, each in wanted if each), default=1)
            for node in machines()
        )


class _Verdict:
    """What follows from each result of a shard: it is done, it is tried again, or it is given up."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._losses: Counter[range] = Counter()  # lost machines, by the rows of the shard
        self._deadly: set[range] = set()  # rows of the shards at which a worker died
        self._any_done = False

    def on(self, shard: Shard, result: Record | Exception) -> ShardOutcome | Shard:
        """The outcome of the shard, or the shard to try again.

        Raises:
            StoreError, SourceGoneError: the last attempt failed with it; the other shards would fail as well.
            AnnotateError: workers died at each of many shards, and none was finished.
        """
        if isinstance(result, Record):
            self._any_done = True
            return ShardOutcome(shard, result)
        if isinstance(result, FATAL_ERRORS) and shard.attempt == ATTEMPTS:
            raise result
        if isinstance(result, MachineLostError):
            self._losses[shard.rows] += 1
            self._say(f"a machine was lost; rows {shard.rows.start} to {shard.rows.stop} are given to another")
            if self._losses[shard.rows] < LOSSES:
                return shard
            return ShardOutcome(shard, error=f"{LOSSES} machines were lost while they labelled it")
        if isinstance(result, WorkerDiedError):
            self._deadly.add(shard.rows)
            self._say(f"a worker died at rows {shard.rows.start} to {shard.rows.stop}: {result.reason}")
            if not self._any_done and len(self._deadly) >= LOSSES:  # a few shards may cause this, but not so many
                raise AnnotateError(
                    f"cannot label: workers died at each of {len(self._deadly)} shards, and no shard was labelled. "
                    f"The last reason is: {result.reason}"
                )
        if shard.attempt < ATTEMPTS:
            return replace(shard, attempt=shard.attempt + 1)
        is_death = isinstance(result, WorkerDiedError)
        return ShardOutcome(shard, error=str(result) if is_death else f"{type(result).__name__}: {result}")
