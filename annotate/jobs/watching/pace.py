"""How fast does a store grow now? By when its records were written, by the clock of what stores them.

    speed = pictures / seconds,    of the shards of the last ten minutes

The clocks of workers, which may differ or be set during the job, do not matter: a record's time is that of its file or
object.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

_WINDOW = 600.0  # seconds; what was finished earlier says nothing about the speed now
_LATE = 60.0  # seconds; a listing of a shared file system may be that old


@dataclass(frozen=True, slots=True)
class _Shard:
    """A finished shard.

    written: seconds since 1970 by the clock of the storage
    seconds: of the worker's time that it took
    """

    worker: str | None
    written: float
    seconds: float
    rows: int


class Pace:
    """Takes what is new in each reading of a store, and says how fast the store grows."""

    def __init__(self) -> None:
        self._shards: dict[int, _Shard] = {}
        self._latest: float | None = None  # when the last of them was written
        self._before: float | None = None  # when the store was read before, by our clock
        self._behind = 0.0  # seconds that the storage's clock is behind ours

    def take(self, shard: int, worker: str | None, *, written: float, seconds: float, rows: int) -> None:
        """Take what a record says of a shard.

        Args:
            shard: its number.
            worker: who finished it, HOST:PID, or None if the record does not say.
            written: when the record was, in seconds since 1970 by the clock of the storage.
            seconds: of the worker's time that it took.
            rows: its pictures.
        """
        self._shards[shard] = _Shard(worker, written, max(seconds, 0.001), rows)
        if self._latest is None or written > self._latest:
            self._latest = written
            # What was not there when the store was read before was written after that.
            if self._before is not None:
                behind = self._before - written
                self._behind = behind if behind > _LATE else 0.0

    def per_second(self, now: float) -> float | None:
        """Pictures a second in the last minutes, or None if nothing was finished in them.

        Args:
            now: our time at this reading, in seconds since 1970.
        """
        self._before = now
        if self._latest is None:
            return None
        self._shards = {n: shard for n, shard in self._shards.items() if shard.written > self._latest - _WINDOW}
        longest = max(shard.seconds for shard in self._shards.values())
        now -= self._behind
        # Nothing is written after now. Where all has been silent for long, beside the time that shards take, the
        # storage's clock is behind, or the job has ended: either way, what was written last tells how quick it was.
        silent = now - self._latest
        if silent < 0 or 3 * longest + 2 < silent < _WINDOW:
            now = self._latest
        recent = [shard for shard in self._shards.values() if shard.written > now - _WINDOW]
        if not recent:
            return None
        # A run that began within the window has worked for a part of it only.
        since = min(shard.written - shard.seconds for shard in recent)
        elapsed = min(_WINDOW, max(now - since, 1.0))
        return min(sum(shard.rows for shard in recent) / elapsed, _most(recent))


def _most(shards: list[_Shard]) -> float:
    """Pictures a second that the workers of these shards can make, which a copied store seems to have exceeded."""
    workers: defaultdict[str | None, list[_Shard]] = defaultdict(list)
    for shard in shards:
        workers[shard.worker].append(shard)
    if None in workers:  # which may be many
        return float("inf")
    return sum(sum(each.rows for each in own) / sum(each.seconds for each in own) for own in workers.values())
