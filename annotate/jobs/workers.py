"""What is a group of workers, and how does one process do all the work? The contract, and LocalWorkers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from typing import Protocol

from annotate.errors import AnnotateError, LostDeviceError, SourceGoneError
from annotate.jobs.labelling.shard import Shard
from storage import Record, StoreError

ATTEMPTS = 3  # for one shard; then it is given up and the others continue
AT_ONCE = 6  # shards of a worker: one is decoded, one is labelled, and four are coded and written
FATAL_ERRORS = (StoreError, SourceGoneError)  # after all attempts of one shard: the others would fail as well


class Job(Protocol):
    """What is done with each shard. `start` runs once in each worker."""

    def start(self) -> Callable[[Shard], Record]:
        """Prepare the work; returns the function to call for each shard, which several threads may call at once."""
        ...


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """The result of a shard: it is done and has a commit record, or it was given up because of an error."""

    shard: Shard
    record: Record | None = None
    error: str = ""


class Workers(Protocol):
    """Workers that share the shards of a job. A shard is tried up to ATTEMPTS times, each time from its beginning."""

    def map(
        self, job: Job, shards: Iterable[Shard], *, say: Callable[[str], None] = lambda sentence: None
    ) -> Iterator[ShardOutcome]:
        """Yield one outcome for every shard, in the order in which they end.

        Args:
            job: what to do with each shard.
            shards: taken one by one, when a worker is free.
            say: called with a sentence that the user should read.

        Raises:
            Exception: what `job.start` raised; a job that cannot start would fail in every worker.
            StoreError, SourceGoneError: in its last attempt a shard could not be written, or no picture could be read.
            AnnotateError: the only worker is this process, and its GPU answers no more.
            KeyboardInterrupt: the process received a signal to end. Unfinished shards are abandoned, which is harmless.
        """
        ...

    @property
    def count(self) -> int:
        """How many workers are busy."""
        ...

    @property
    def about(self) -> str:
        """Where the work is done, as a sentence for the log."""
        ...


class LocalWorkers:
    """One worker, in this process, which labels one shard after the other: for array jobs, tests and debuggers.

    The next shards are begun while the last are written, each in its own thread.

    Args:
        at_once: how many shards it has at the same time; with 1, each is written before the next is begun.

    >>> from annotate import LocalWorkers
    >>> LocalWorkers()
    LocalWorkers()
    """

    count = 1
    about = "this process does all the work"

    def __init__(self, *, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once

    def __repr__(self) -> str:
        """The call that makes it."""
        return "LocalWorkers()" if self._at_once == AT_ONCE else f"LocalWorkers(at_once={self._at_once})"

    def map(
        self, job: Job, shards: Iterable[Shard], *, say: Callable[[str], None] = lambda sentence: None
    ) -> Iterator[ShardOutcome]:
        """One shard after the other, in their order; those that are tried again come as soon as they can."""
        coming, retries = iter(shards), deque[Shard]()
        running = deque[tuple[Shard, Future[Record]]]()
        do: Callable[[Shard], Record] | None = None
        abandoned = Event()
        pool = ThreadPoolExecutor(self._at_once, "shard")
        try:
            while True:
                while len(running) < self._at_once and (shard := retries.popleft() if retries else next(coming, None)):
                    do = do or job.start()
                    shard = replace(shard, abandoned=abandoned)
                    running.append((shard, pool.submit(do, shard)))
                if not running:
                    return
                shard, future = running.popleft()
                try:
                    outcome = ShardOutcome(shard, future.result())
                except LostDeviceError as error:
                    raise AnnotateError(
                        f"cannot go on in this process: {error}. Shards that are finished are stored: run the same "
                        f"command again. If it ends at the same rows, {shard.rows.start} to {shard.rows.stop}, use "
                        "--workers 1, which labels with Ray and tries each shard alone"
                    ) from error
                except Exception as error:  # whatever it is, the other shards continue
                    if shard.attempt < ATTEMPTS:
                        retries.append(replace(shard, attempt=shard.attempt + 1))
                        continue
                    if isinstance(error, FATAL_ERRORS):
                        raise
                    outcome = ShardOutcome(shard, error=f"{type(error).__name__}: {error}")
                yield outcome
        finally:
            abandoned.set()
            pool.shutdown(cancel_futures=True)
