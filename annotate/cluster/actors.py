"""How are the actors of Ray started, given shards and ended, and why did one end: its process, or its machine?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from annotate.errors import AnnotateError
from annotate.jobs.shard import Shard
from annotate.jobs.workers import ATTEMPTS, Job
from storage import Record, StoreError

LOSSES = 10  # a shard is given up after so many lost machines, and a job after so many workers that died at the start
_POLL = 2.0  # seconds; how soon a change in the size of the cluster is noticed


class MachineLostError(Exception):
    """The machine of the worker that had a shard is gone."""


class WorkerDiedError(Exception):
    """The process that had a shard is gone, but not its machine.

    reason: what Ray knows about the death
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the worker died")
        self.reason = reason


class Actors:
    """All actors of a job: those that are starting, those that wait for a shard, and those that have one.

    idle: actors that wait for a shard
    busy: the actor and the shard of each result that has not arrived yet

    Args:
        create: starts one actor.

    Raises:
        Exception: what the job's `start` raised in one of them.
        AnnotateError: none can be started.
    """

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create
        self._starting: dict[Any, Any] = {}
        self._machine: dict[Any, str] = {}
        self._failed_starts = 0
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, Shard]] = {}

    def __repr__(self) -> str:
        """The numbers of actors by their state."""
        return f"Actors({len(self._starting)} starting, {len(self.idle)} idle, {len(self.busy)} busy)"

    def resize(self, count: int) -> None:
        """Start or end actors until there are `count`; an actor that has a shard is not ended."""
        import ray

        while len(self._starting) + len(self.idle) + len(self.busy) < count:
            actor = self._create()
            self._starting[actor.start.remote()] = actor
        while (self._starting or self.idle) and len(self._starting) + len(self.idle) + len(self.busy) > count:
            ray.kill(self._starting.popitem()[1] if self._starting else self.idle.pop())

    def assign(self, shard: Shard) -> None:
        """Give a shard to an idle actor."""
        actor = self.idle.pop()
        self.busy[actor.label.remote(shard)] = actor, shard

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
                record: Record = ray.get(answer)
            except ray.exceptions.RayTaskError as error:
                self.idle.append(actor)
                yield shard, error.cause
            except ray.exceptions.RayError as error:
                ray.kill(actor)
                yield shard, self._cause_of_death(actor, error)
            else:
                self.idle.append(actor)
                yield shard, record

    def end(self) -> None:
        """End all actors, including those that have a shard."""
        import ray

        for actor in [*self._starting.values(), *self.idle, *(actor for actor, _ in self.busy.values())]:
            ray.kill(actor)

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
            self.idle.append(actor)

    def _cause_of_death(self, actor: Any, error: Exception) -> Exception:
        """Whether the machine is gone, or only the process."""
        import ray

        # For half a minute after a machine is lost, Ray only reports that it does not answer.
        is_unreachable = isinstance(error, ray.exceptions.ActorUnavailableError)
        is_alive = any(node["Alive"] for node in ray.nodes() if node["NodeID"] == self._machine[actor])
        return WorkerDiedError(_detail(error)) if is_alive and not is_unreachable else MachineLostError()


def _detail(error: Exception) -> str:
    """What Ray knows about a death, without its advice."""
    _, _, detail = str(error).rpartition("Worker exit detail: ")
    return detail.partition(". Some common causes")[0].partition("\n")[0][:200]


class Worker:
    """What an actor runs. The job is started by a separate call, so that the reason of a failure reaches the driver."""

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
