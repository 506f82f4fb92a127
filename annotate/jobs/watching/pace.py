"""How fast does a store grow now? By how long each worker took for its shards, whatever the clocks of machines say.

    speed = sum over the workers at work of  pictures / seconds of work,    both of their shards of the last minutes

The seconds that a shard took, and when its record appeared while the store is watched, need no clock that is right.
Only what was there at the first reading is ordered by its machine's clock, which may be wrong, or have been set since.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

_WINDOW = 600.0  # seconds; what a worker finished earlier says nothing about its speed now
_LATE = 60.0  # seconds; a listing of a shared file system may be that old


@dataclass(frozen=True, slots=True)
class _Shard:
    """A finished shard.

    finished: seconds since 1970 by the clock of the worker's machine
    seconds:  of the worker's time that it took
    """

    worker: str
    finished: float
    seconds: float
    rows: int


class Pace:
    """Takes what is new in each reading of a store, and says how fast the store grows."""

    def __init__(self) -> None:
        self._finished: dict[int, float] = {}  # when each shard was, to know a record that is read again
        self._new: list[_Shard] = []
        self._is_first = True
        # Of each worker: when its latest shards were finished, by our monotonic clock, and these shards.
        self._workers: defaultdict[str, list[tuple[float, _Shard]]] = defaultdict(list)

    def take(self, shard: int, worker: str, *, finished: float, seconds: float, rows: int) -> None:
        """Take what a record says of a shard; again means nothing.

        Args:
            shard: its number.
            worker: who finished it, HOST:PID.
            finished: when, in seconds since 1970 by that machine's clock.
            seconds: of the worker's time that it took.
            rows: its pictures.
        """
        if self._finished.get(shard) != finished:
            self._finished[shard] = finished
            self._new.append(_Shard(worker, finished, max(seconds, 0.001), rows))

    def per_second(self, now: float, clock: float) -> float | None:
        """Pictures a second of all workers that are at work, or None if none seems to be.

        Args:
            now: our time at this reading, in seconds since 1970.
            clock: the same by a clock of ours that is never set.
        """
        ages = _ages(self._new, now) if self._is_first else [0.0] * len(self._new)
        for shard, age in zip(self._new, ages, strict=True):
            self._workers[shard.worker].append((clock - age, shard))
        self._new, self._is_first = [], False
        speeds = []
        for worker, shards in [*self._workers.items()]:
            shards.sort(key=lambda each: each[0])
            last = shards[-1][0]
            self._workers[worker] = shards = [each for each in shards if each[0] > last - _WINDOW]
            if clock - last <= _pause(shards):
                speeds.append(sum(shard.rows for _, shard in shards) / _seconds(shards))
        return sum(speeds) if speeds else None


def _ages(shards: list[_Shard], now: float) -> list[float]:
    """How many seconds ago each shard was finished, by the clock of its machine, corrected where it is surely wrong.

    Nothing is finished after now. A machine that finished its last shard minutes ago may have a clock that is behind,
    or may have stopped: either way, what it finished last tells how quick it was.
    """
    latest: dict[str, float] = {}
    for each in shards:
        machine = each.worker.rpartition(":")[0]
        latest[machine] = max(latest.get(machine, -math.inf), each.finished)
    ends = [latest[each.worker.rpartition(":")[0]] for each in shards]
    return [(end if now - end < _WINDOW else now) - each.finished for each, end in zip(shards, ends, strict=True)]


def _pause(shards: list[tuple[float, _Shard]]) -> float:
    """Seconds without a finished shard after which the worker of these is not at work."""
    return 3 * max(shard.seconds for _, shard in shards) + _LATE


def _seconds(shards: list[tuple[float, _Shard]]) -> float:
    """How long a worker was at work for these shards, in their order: pauses, and jumps of its clock, are left out.

    Between two of those it is the time from the first to the last, which includes what is not counted as a shard's,
    such as waiting for a slow disk; but not less than the shards took, as it seems to be where a clock was set back.
    """
    pause, stretches = _pause(shards), [shards[:1]]
    for before, each in pairwise(shards):
        if each[0] - before[0] > pause:
            stretches.append([])
        stretches[-1].append(each)
    return sum(
        max(sum(shard.seconds for _, shard in each), each[-1][0] - each[0][0] + each[0][1].seconds)
        for each in stretches
    )
