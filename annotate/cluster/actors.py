"""How are the actors of Ray started, given shards and ended, and why did one end: its process, or its machine?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from annotate.errors import AnnotateError, LostDeviceError
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.workers import ATTEMPTS, Job
from storage import Record, StoreError

LOSSES = 10  # limit: lost machines per shard; also workers that died at the start, per job
_POLL = 2.0  # seconds; how soon a change in the size of the cluster is noticed


class MachineLostError(Exception):
    """The machine of the worker that had a shard is gone."""


class WorkerDiedError(Exception):
    """The process that had a shard is gone, or its GPU answers it no more; its machine is there.

    reason: what Ray or the worker knows about it
    shards: how many it had, each of which may have been the cause
    """

    def __init__(self, reason: str, *, shards: int) -> None:
        super().__init__("the worker died")
        self.reason = reason
        self.shards = shards


class Actors:
    """All actors of a job: those that are starting, those that wait for a shard, and those that have some.

    busy: the actor and the shard of each result that has not arrived yet

    Args:
        create: starts one actor.
        at_once: shards that an actor has at the same time, at most.

    Raises:
        Exception: what the job's `start` raised in one of them.
        AnnotateError: none can be started.
    """

    def __init__(self, create: Callable[[], Any], *, at_once: int) -> None:
        self._create = create
        self._at_once = at_once
        self._starting: dict[Any, Any] = {}
        self._machine: dict[Any, str] = {}
        self._failed_starts = 0
        self._shards: Counter[Any] = Counter()  # how many shards each started actor has
        self._exclusive: set[Any] = set()  # actors whose shard is alone
        self._died_with: dict[Any, int] = {}  # how many shards a dead actor had
        self.busy: dict[Any, tuple[Any, Shard]] = {}

    def __repr__(self) -> str:
        """The numbers of actors by their state."""
        idle = len(self._idle)
        return f"Actors({len(self._starting)} starting, {idle} idle, {len(self._shards) - idle} busy)"

    @property
    def count(self) -> int:
        """How many have started, or will."""
        return len(self._starting) + len(self._shards)

    @property
    def busy_count(self) -> int:
        """How many have a shard."""
        return len(self._shards) - len(self._idle)

    def resize(self, count: int) -> None:
        """Start or end actors until there are `count`; an actor that has a shard is not ended."""
        import ray

        while self.count < count:
            actor = self._create()
            self._starting[actor.start.remote()] = actor
        while self.count > count and (self._starting or self._idle):
            if self._starting:
                ray.kill(self._starting.popitem()[1])
            else:
                ray.kill(actor := self._idle[0])
                del self._shards[actor]

    def free(self, *, idle: bool) -> Any | None:
        """The actor that has the fewest shards, if it has room for another; with `idle`, only if it has none."""
        room = {actor: n for actor, n in self._shards.items() if actor not in self._exclusive}
        actor = min(room, key=room.__getitem__, default=None)
        return None if actor is None or room[actor] >= (1 if idle else self._at_once) else actor

    def assign(self, actor: Any, shard: Shard, *, alone: bool = False) -> None:
        """Give a shard to an actor; with `alone`, the actor gets no other before this one has ended."""
        self.busy[actor.label.remote(shard)] = actor, shard
        self._shards[actor] += 1
        if alone:
            self._exclusive.add(actor)

    def wait(self) -> Iterator[tuple[Shard, Record | Exception]]:
        """Wait up to two seconds for a result; yield its shard, and the shard's record or error."""
        import ray

        done, _ = ray.wait([*self._starting, *self.busy], num_returns=1, timeout=_POLL)
        for answer in done:
            if answer in self._starting:
                self._admit(self._starting.pop(answer), answer)
                continue
            actor, shard = self.busy.pop(answer)
            try:
                result: Record | Exception = ray.get(answer)
            except ray.exceptions.RayTaskError as error:
                result = error.cause
                if isinstance(result, LostDeviceError):  # all its other shards would fail, and with them their attempts
                    self._discard(actor)
                    result = WorkerDiedError(str(result), shards=self._died_with[actor])
            except ray.exceptions.RayError as error:
                self._discard(actor)
                result = self._cause_of_death(actor, error)
            if actor in self._shards:
                self._shards[actor] -= 1
            self._exclusive.discard(actor)
            yield shard, result

    def end(self) -> None:
        """End all actors, including those that have a shard."""
        import ray

        for actor in [*self._starting.values(), *self._shards]:
            ray.kill(actor)

    @property
    def _idle(self) -> list[Any]:
        return [actor for actor, shards in self._shards.items() if not shards]

    def _admit(self, actor: Any, answer: Any) -> None:
        """Make an actor idle once it has started; raise if too many could not start."""
        import ray

        try:
            self._machine[actor] = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            self._failed_starts += 1
            if not isinstance(error.cause, StoreError) or self._failed_starts >= ATTEMPTS:
                raise error.cause from None
        except ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= (LOSSES if self._machine else ATTEMPTS):
                raise AnnotateError(
                    f"cannot start workers: {self._failed_starts} in a row died before they were ready "
                    f"({_detail(error)}). The usual cause is too little memory for the network: start fewer workers, "
                    "with --workers or with a larger --gpus-per-worker"
                ) from error
        else:
            self._failed_starts = 0
            self._shards[actor] = 0

    def _discard(self, actor: Any) -> None:
        """End an actor that is of no more use, and remember how many shards it had."""
        import ray

        ray.kill(actor)
        if actor in self._shards:
            self._died_with[actor] = self._shards.pop(actor)

    def _cause_of_death(self, actor: Any, error: Exception) -> Exception:
        """Whether the machine is gone, or only the process."""
        import ray

        # For half a minute after a machine is lost, Ray only reports that it does not answer.
        is_unreachable = isinstance(error, ray.exceptions.ActorUnavailableError)
        is_alive = any(node["Alive"] for node in ray.nodes() if node["NodeID"] == self._machine[actor])
        if is_unreachable or not is_alive:
            return MachineLostError()
        return WorkerDiedError(_detail(error), shards=self._died_with[actor])


def _detail(error: Exception) -> str:
    """What Ray knows about a death, without its advice."""
    _, _, detail = str(error).rpartition("Worker exit detail: ")
    return detail.partition(". Some common causes")[0].partition("\n")[0][:200]


class Worker:
    """What an actor runs. The job is started by a separate call, so that the reason of a failure reaches the driver.

    Ray runs each call in a thread, as many as the driver lets it have at once.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    def start(self) -> str:
        """Start the job; returns the id of this actor's machine."""
        import ray

        self._do = self._job.start()
        machine: str = ray.get_runtime_context().get_node_id()
        return machine

    def label(self, shard: Shard) -> Record:
        """Label one shard."""
        return self._do(shard)
