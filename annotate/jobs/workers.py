"""What is a group of workers, and how does one process do all the work? The contract, and LocalWorkers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from annotate.errors import SourceGoneError
from annotate.jobs.shard import Shard
from storage import Record, StoreError

ATTEMPTS = 3  # for one shard; then it is given up and the others continue
FATAL_ERRORS = (
    StoreError,
    SourceGoneError,
)  # these end the run after the last attempt of one shard: the others would fail as well


class Job(Protocol):
    """What is done with each shard. `start` runs once in each worker."""

    def start(self) -> Callable[[Shard], Record]:
        """Prepare the work; returns the function to call for each shard."""
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

    >>> from annotate import LocalWorkers
    >>> LocalWorkers()
    LocalWorkers()
    """

    count = 1
    about = "this process does all the work"

    def __repr__(self) -> str:
        """The call that makes it."""
        return "LocalWorkers()"

    def map(
        self, job: Job, shards: Iterable[Shard], *, say: Callable[[str], None] = lambda sentence: None
    ) -> Iterator[ShardOutcome]:
        """One shard after the other."""
        do: Callable[[Shard], Record] | None = None
        for shard in shards:
            do = do or job.start()
            for attempt in range(1, ATTEMPTS + 1):
                tried = replace(shard, attempt=attempt)
                try:
                    outcome = ShardOutcome(tried, do(tried))
                    break
                except Exception as error:  # whatever it is, the other shards continue
                    if isinstance(error, FATAL_ERRORS) and attempt == ATTEMPTS:
                        raise
                    outcome = ShardOutcome(tried, error=f"{type(error).__name__}: {error}")
            yield outcome
