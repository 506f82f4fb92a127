"""Does starting Ray take longer than the job? Then this process does the work, otherwise Ray's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from annotate.jobs.labelling.shard import Shard
from annotate.jobs.workers import Job, LocalWorkers, ShardOutcome, Workers

# Chosen below what Ray was seen to cost. One comparison on two busy cores: 36 pictures took 9.8 s in this process and
# 23.7 s with two workers of Ray, so that Ray cost some 19 s; on an idle machine, not measured, it may be less.
RAY_STARTS = 12.0  # seconds
MOST_PICTURES = 2_000  # assumed: at 6 ms for each picture, more than these take longer than Ray's start on one core


def choose_workers(pictures: int, seconds: Callable[[], float], *, gpus: int = 0) -> tuple[bool, str]:
    """Whether this process alone should label this many pictures; and why, in a sentence.

    Args:
        pictures: how many there are to label.
        seconds: measures the seconds that one picture takes in one thread on the CPU; called only where it matters.
        gpus: how many GPUs this machine has.
    """
    if gpus > 1:
        return False, f"Ray's workers label the pictures: there are {gpus} GPUs"
    if pictures > MOST_PICTURES:
        return False, f"Ray's workers label the pictures: there are more than {MOST_PICTURES:,}"
    estimate = pictures * seconds()
    what = f"{pictures:,} picture{'s take' if pictures != 1 else ' takes'} about {max(1, round(estimate)):,} s"
    if estimate <= RAY_STARTS:
        return (
            True,
            f"this process labels the pictures: {what}, and starting Ray takes longer (--workers N starts it)",
        )
    return False, f"Ray's workers label the pictures: {what} in one process"


class ChosenWorkers:
    """This process for a job that takes less time than Ray's start, and otherwise Ray's workers.

    The choice is made when the job's shards are known, because a run that resumes may have only few left.

    count: how many workers are busy

    Args:
        ray: makes Ray's workers; called only if they are chosen.
        seconds: measures the seconds that one picture takes in one thread on the CPU.
        gpus: how many GPUs this machine has.
    """

    def __init__(self, ray: Callable[[], Workers], seconds: Callable[[], float], *, gpus: int = 0) -> None:
        self._make_ray, self._seconds, self._gpus = ray, seconds, gpus
        self._chosen: Workers | None = None

    @property
    def count(self) -> int:
        """How many workers are busy."""
        return 0 if self._chosen is None else self._chosen.count

    @property
    def about(self) -> str:
        """Where the work is done, as a sentence; before the choice, what decides it."""
        return (
            "a short job is done by this process, a longer one by Ray" if self._chosen is None else self._chosen.about
        )

    def map(
        self, job: Job, shards: Iterable[Shard], *, say: Callable[[str], None] = lambda sentence: None
    ) -> Iterator[ShardOutcome]:
        """Choose, say so in a sentence, and label all shards; see `Workers.map`."""
        coming, taken, pictures = iter(shards), list[Shard](), 0
        for shard in coming:
            taken.append(shard)
            pictures += len(shard.rows)
            if pictures > MOST_PICTURES:
                break
        if not taken:
            return
        is_local, why = choose_workers(pictures, self._seconds, gpus=self._gpus)
        self._chosen = LocalWorkers() if is_local else self._make_ray()
        say(why if is_local else f"{why}; {self._chosen.about}")
        yield from self._chosen.map(job, chain(taken, coming), say=say)
