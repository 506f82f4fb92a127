"""How do the workers of a Ray cluster share a job? The driver assigns them, and counts and limits attempts."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from annotate.cluster.actors import LOSSES, Actors, MachineLostError, Worker, WorkerDiedError
from annotate.cluster.connection import LOCAL, connected, describe_machines, describe_privacy, machines
from annotate.errors import AnnotateError
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.workers import AT_ONCE, ATTEMPTS, FATAL_ERRORS, Job, ShardOutcome
from storage import Record

_PATIENCE = 30.0  # seconds without a ready worker, after which a message says so


class RayWorkers:
    """Actors of a Ray cluster, which is started on this machine unless an address is given.

    Ray itself restarts nothing: the driver assigns and counts every attempt. A worker begins the next shards
    while the last are written, and gets none before it has started, so that no shard waits for a machine that never
    comes. If a machine is lost, that does not count as an attempt of its shards. Nor does the death of a worker that
    had several: each of them is tried again alone, which shows which one causes it.

    count: how many workers are busy

    Args:
        count: how many workers; default: as many as the cluster has room for, changing with its size.
        gpus_per_worker: GPUs of each worker, a fraction of one is allowed; default: 1 if the cluster has GPUs.
        cpus_per_worker: CPUs of each worker; default: 1.
        at_once: shards that each worker has at the same time, at most; default: 6 with a GPU, 2 without.
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
        at_once: int | None = None,
        address: str = LOCAL,
    ) -> None:
        self._at_once = at_once
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
        create = self._actor_maker(job)
        actors, verdict = Actors(create, at_once=self._shards_at_once()), _Verdict(say)
        following, retries = deque[Shard](), deque[Shard]()
        idle_since = time.monotonic()
        try:
            while True:
                room = self._room()
                following.extend(islice(coming, max(0, room + 1 - len(following))))
                if not (following or retries or actors.busy):
                    return
                actors.resize(room if following else min(room, len(retries) + actors.busy_count))
                # The last shards go to workers that have none: those that have some would keep them waiting.
                while following and (actor := actors.free(idle=len(following) <= actors.count)) is not None:
                    actors.assign(actor, following.popleft())
                    following.extend(islice(coming, 1))
                while retries and not following and (actor := actors.free(idle=True)) is not None:
                    actors.assign(actor, retries.popleft(), alone=True)
                self.count = actors.busy_count
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
        actor = ray.remote(
            num_cpus=self._cpus(),
            num_gpus=self._gpus_per_worker,
            max_concurrency=self._shards_at_once(),
            max_restarts=0,
            max_task_retries=0,
        )(Worker)
        return lambda: actor.remote(shared)

    def _shards_at_once(self) -> int:
        """How many shards a worker has at most: on the CPU two, since more would wait there while others have none."""
        return self._at_once or (AT_ONCE if self._gpus_per_worker else 2)

    def _cpus(self) -> float:
        return 1.0 if self._cpus_per_worker is None else self._cpus_per_worker

    def _each_wants(self) -> str:
        return f"each asks for {self._cpus():g} CPUs and {self._gpus_per_worker or 0:g} GPUs"

    def _room(self) -> int:
        """How many workers there should be now: at least one, because a cluster may grow when more is requested."""
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
        self._deadly: dict[range, float] = {}  # by the shard's rows: 1 / the shards that the dead worker had
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
            self._deadly[shard.rows] = 1 / result.shards
            self._say(f"a worker died at rows {shard.rows.start} to {shard.rows.stop}: {result.reason}")
            # A few shards may cause this, but not so many.
            if not self._any_done and round(sum(self._deadly.values())) >= LOSSES:
                raise AnnotateError(
                    f"cannot label: workers died at each of {len(self._deadly)} shards, and no shard was labelled. "
                    f"The last reason is: {result.reason}"
                )
            if result.shards > 1:
                return shard
        if shard.attempt < ATTEMPTS:
            return replace(shard, attempt=shard.attempt + 1)
        is_death = isinstance(result, WorkerDiedError)
        return ShardOutcome(shard, error=str(result) if is_death else f"{type(result).__name__}: {result}")
