"""How do the actors of a Ray cluster share the work? Each has one shard at a time. Only this file knows Ray."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from annotate.errors import AnnotateError
from annotate.shard import Shard
from annotate.workers import ATTEMPTS, HOPELESS, Job, Outcome
from storage import Record, StoreError

LOSSES = 10  # of machines that had the same shard, before it is given up too
_PATIENCE = 30.0  # seconds without a worker, before a person is told
_POLL = 2.0  # seconds; how soon a cluster that has grown or shrunk is noticed


class RayWorkers:
    """Actors of a Ray cluster, which is this machine unless an address is given.

    Ray restarts nothing by itself here: the driver hands out every attempt, and counts them. A worker has one shard at
    a time, so that it is known which shard a dead worker was at; and it gets none before it has started, so that no
    shard waits for a machine that never comes. A machine that is lost is no fault of its shard's, and no attempt.

    Args:
        count: workers; by default as many as the cluster has room for, more when it grows and fewer when it shrinks.
        gpus_per_worker: a part of one will do; by default 1 where there are GPUs.
        cpus_per_worker: by default 1.
        address: of a running cluster, or "auto" for the one that this machine belongs to; "local" starts one for this
            job that listens on this machine's loopback alone, and ends with it.
    """

    def __init__(
        self,
        count: int | None = None,
        *,
        gpus_per_worker: float | None = None,
        cpus_per_worker: float | None = None,
        address: str = "local",
    ) -> None:
        self._asked, self._address = count, address
        self._gpus_per_worker, self._cpus_per_worker = gpus_per_worker, cpus_per_worker
        self.count = 0

    @property
    def about(self) -> str:
        """Where the work is done, and who can see it."""
        if self._address == "local":
            token = "no token" if os.environ.get("RAY_AUTH_MODE") == "disabled" else "a token"
            told = os.environ.get("RAY_USAGE_STATS_ENABLED", "0") != "0"
            return (
                f"Ray runs on this machine, listens on its loopback alone, asks for {token} and reports to "
                f"{'its makers, as RAY_USAGE_STATS_ENABLED says' if told else 'nobody'}"
            )
        return f"Ray joins the cluster at {self._address!r} and sends no usage statistics"

    def map(
        self, job: Job, shards: Iterable[Shard], *, say: Callable[[str], None] = lambda sentence: None
    ) -> Iterator[Outcome]:
        """All shards over all workers."""
        coming = iter(shards)
        first = next(coming, None)
        if first is None:
            return
        # Before the import: Ray reads them then.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if self._address == "local":
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # all its sockets on the loopback
        import ray

        ours = not ray.is_initialized()
        if ours:
            _connect(self._address)
        try:
            yield from self._drive(job, chain([first], coming), say)
        finally:
            self.count = 0
            if ours:
                ray.shutdown()

    def _drive(self, job: Job, coming: Iterator[Shard], say: Callable[[str], None]) -> Iterator[Outcome]:
        actors = _Actors(self._make(job))
        retries: deque[Shard] = deque()
        losses: Counter[range] = Counter()
        fatal: set[range] = set()
        labelled = False
        following = next(coming, None)
        complained = time.monotonic()
        try:
            while following or retries or actors.busy:
                room = self._room()
                actors.keep(room if following else min(room, len(retries) + len(actors.busy)))
                while actors.idle and (following or retries):
                    if following:
                        actors.hand(following)
                        following = next(coming, None)
                    else:
                        actors.hand(retries.popleft())
                self.count = len(actors.busy)
                if actors.busy:
                    complained = time.monotonic()
                elif time.monotonic() - complained > _PATIENCE:
                    complained = time.monotonic()
                    say(f"no worker is ready yet: {self._wanted()}, and {_have()}; waiting")
                for shard, came in actors.wait():
                    if isinstance(came, Record):
                        labelled = True
                        yield Outcome(shard, came)
                        continue
                    if isinstance(came, HOPELESS) and shard.attempt == ATTEMPTS:
                        raise came
                    if isinstance(came, _MachineLostError):
                        losses[shard.rows] += 1
                        say(f"a machine was lost; rows {shard.rows.start} to {shard.rows.stop} go to another")
                        if losses[shard.rows] < LOSSES:
                            retries.append(shard)
                        else:
                            yield Outcome(shard, error=f"{LOSSES} machines were lost while they had it")
                        continue
                    if isinstance(came, _WorkerDiedError):
                        fatal.add(shard.rows)
                        say(f"a worker died at rows {shard.rows.start} to {shard.rows.stop}: {came.reason}")
                        if not labelled and len(fatal) >= LOSSES:  # some may be poisoned; so many are not
                            raise AnnotateError(
                                f"workers died at each of {len(fatal)} shards, and none was labelled: {came.reason}"
                            )
                    if shard.attempt < ATTEMPTS:
                        retries.append(replace(shard, attempt=shard.attempt + 1))
                    else:
                        yield Outcome(shard, error=_in_words(came))
        finally:
            actors.end()

    def _make(self, job: Job) -> Callable[[], Any]:
        """What makes one actor that knows the job."""
        import ray

        resources = ray.cluster_resources()
        if self._gpus_per_worker is None:
            self._gpus_per_worker = float(resources.get("GPU", 0) > 0)
        if self._asked and self._address == "local":  # more workers than this machine has cores must not wait for ever
            self._cpus_per_worker = min(self._cpus_per_worker or 1.0, resources["CPU"] / self._asked)
        if self._address == "local" and not self._fits():
            raise AnnotateError(f"no worker can ever start here: {self._wanted()}, and {_have()}")
        handed = ray.put(job)
        actor = ray.remote(num_cpus=self._cpus(), num_gpus=self._gpus_per_worker, max_restarts=0, max_task_retries=0)(
            _Worker
        )
        return lambda: actor.remote(handed)

    def _cpus(self) -> float:
        return 1.0 if self._cpus_per_worker is None else self._cpus_per_worker

    def _wanted(self) -> str:
        return f"each asks for {self._cpus():g} CPUs and {self._gpus_per_worker or 0:g} GPUs"

    def _room(self) -> int:
        """How many workers there should be now. One at least is asked for: a cluster may grow because of it."""
        return self._asked or max(1, self._fits())

    def _fits(self) -> int:
        """How many workers the machines that are there have room for."""
        asked = [("CPU", self._cpus()), ("GPU", self._gpus_per_worker or 0.0)]
        return sum(
            min((int(node.get(name, 0) / each + 1e-6) for name, each in asked if each), default=1)
            for node in _machines()
        )


def _machines() -> list[dict[str, float]]:
    """What each machine of the cluster has that is alive."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _have() -> str:
    machines = [f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in _machines()]
    return f"the machines have {'; '.join(machines[:5])}" if machines else "there is no machine"


def _connect(address: str) -> None:
    """Start Ray, or join a cluster. How this process ends when it is told to stays its own affair."""
    import ray

    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 128 * 2**20}
    _refuse_unreachable(address)
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **(here if address == "local" else {}),
        )
    except SystemExit:  # Ray's own answer to SIGTERM, while it starts
        raise KeyboardInterrupt from None
    except (ConnectionError, ValueError) as error:
        raise _unreachable(address, error) from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _refuse_unreachable(address: str) -> None:
    """Ask whether anybody answers at HOST:PORT: Ray itself would ask for minutes.

    Raises:
        AnnotateError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> AnnotateError:
    return AnnotateError(
        f"cannot reach the Ray cluster at {address!r}: {error}. Start one with `ray start --head`, or leave "
        "--ray-address out to work on this machine alone"
    )


class _MachineLostError(Exception):
    """The machine that had a shard is gone."""


class _WorkerDiedError(Exception):
    """The process that had a shard is gone, but not its machine."""

    def __init__(self, reason: str) -> None:
        super().__init__("the worker died")
        self.reason = reason


def _detail(error: Exception) -> str:
    """What Ray knows of a death, without its advice."""
    _, _, detail = str(error).rpartition("Worker exit detail: ")
    return detail.partition(". Some common causes")[0].partition("\n")[0][:200]


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, _WorkerDiedError) else f"{type(error).__name__}: {error}"


class _Actors:
    """The actors that there are: those that start, those that wait for a shard, and those that have one.

    Args:
        make: what makes one.

    Raises:
        Exception: what the job's `start` raised in one of them.
        AnnotateError: none can be started.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._starting: dict[Any, Any] = {}
        self._machine: dict[Any, str] = {}
        self._stillborn = 0
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, Shard]] = {}

    def keep(self, count: int) -> None:
        """Have as many as this; of those that are too many, end none that has a shard."""
        import ray

        while len(self._starting) + len(self.idle) + len(self.busy) < count:
            actor = self._make()
            self._starting[actor.start.remote()] = actor
        while (self._starting or self.idle) and len(self._starting) + len(self.idle) + len(self.busy) > count:
            ray.kill(self._starting.popitem()[1] if self._starting else self.idle.pop())

    def hand(self, shard: Shard) -> None:
        """Give a shard to one that waits."""
        actor = self.idle.pop()
        self.busy[actor.do.remote(shard)] = actor, shard

    def wait(self) -> Iterator[tuple[Shard, Record | Exception]]:
        """What came of shards, as soon as there is any; or nothing after a moment, to look round."""
        import ray

        done, _ = ray.wait([*self._starting, *self.busy], num_returns=1, timeout=_POLL)
        for answer in done:
            if answer in self._starting:
                self._welcome(self._starting.pop(answer), answer)
                continue
            actor, shard = self.busy.pop(answer)
            try:
                record: Record = ray.get(answer)
            except ray.exceptions.RayTaskError as error:
                self.idle.append(actor)
                yield shard, error.cause
            except ray.exceptions.RayError as error:
                ray.kill(actor)
                yield shard, self._why(actor, error)
            else:
                self.idle.append(actor)
                yield shard, record

    def end(self) -> None:
        """End them all, whatever they are at."""
        import ray

        for actor in [*self._starting.values(), *self.idle, *(actor for actor, _ in self.busy.values())]:
            ray.kill(actor)

    def _welcome(self, actor: Any, answer: Any) -> None:
        import ray

        try:
            self._machine[actor] = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            self._stillborn += 1
            if not isinstance(error.cause, StoreError) or self._stillborn >= ATTEMPTS:
                raise error.cause from None
        except ray.exceptions.RayError as error:
            self._stillborn += 1
            if self._stillborn >= (LOSSES if self._machine else ATTEMPTS):
                raise AnnotateError(
                    f"{self._stillborn} workers in a row died before they were ready ({_detail(error)}). Is there "
                    "memory enough for the network? --workers or --gpus-per-worker make them fewer"
                ) from error
        else:
            self._stillborn = 0
            self.idle.append(actor)

    def _why(self, actor: Any, error: Exception) -> Exception:
        """Whether the machine died, or the process alone."""
        import ray

        # Of a machine that is lost, Ray knows for half a minute only that nobody answers there.
        unreachable = isinstance(error, ray.exceptions.ActorUnavailableError)
        alive = any(node["Alive"] for node in ray.nodes() if node["NodeID"] == self._machine[actor])
        return _WorkerDiedError(_detail(error)) if alive and not unreachable else _MachineLostError()


class _Worker:
    """The actor: starts the job when it is asked to, so that the reason of a failure reaches the driver."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def start(self) -> str:
        """Make ready; the machine that it is on."""
        import ray

        self._do = self._job.start()
        machine: str = ray.get_runtime_context().get_node_id()
        return machine

    def do(self, shard: Shard) -> Record:
        """Label one shard."""
        return self._do(shard)
