"""Who does the work? Any number of workers, or this process itself, under one contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from annotate.errors import SourceGoneError
from annotate.shard import Shard
from storage import Record, StoreError

ATTEMPTS = 3  # of one shard, before it is given up and the others go on
HOPELESS = (StoreError, SourceGoneError)  # where one shard cannot, after all its attempts, the others cannot


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

    def map(
        self, job: Job, shards: Iterable[Shard], *, say: Callable[[str], None] = lambda sentence: None
    ) -> Iterator[Outcome]:
        """Give every shard one outcome, in the order in which they are finished.

        Shards are asked for one by one, when there is somebody to do them. What a person should know is said.

        Raises:
            Exception: what `job.start` raised; a job that cannot start has no use for another worker.
            StoreError, SourceGoneError: a shard could not be written, or no picture be read, in its last attempt.
            KeyboardInterrupt: the process was told to end. Shards at work are abandoned, which harms nothing.
        """
        ...

    @property
    def count(self) -> int:
        """How many are at work."""
        ...

    @property
    def about(self) -> str:
        """Where the work is done, in a sentence for the log."""
        ...


class LocalWorkers:
    """This process itself: for array jobs, tests, debuggers and profilers."""

    count = 1
    about = "this process does all the work"

    def map(
        self, job: Job, shards: Iterable[Shard], *, say: Callable[[str], None] = lambda sentence: None
    ) -> Iterator[Outcome]:
        """One shard after the other."""
        do: Callable[[Shard], Record] | None = None
        for shard in shards:
            do = do or job.start()
            for attempt in range(1, ATTEMPTS + 1):
                tried = replace(shard, attempt=attempt)
                try:
                    outcome = Outcome(tried, do(tried))
                    break
                except Exception as error:  # whatever else it is, the other shards go on
                    if isinstance(error, HOPELESS) and attempt == ATTEMPTS:
                        raise
                    outcome = Outcome(tried, error=f"{type(error).__name__}: {error}")
            yield outcome
