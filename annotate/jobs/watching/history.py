"""What was finished when, by whom, and what has no label? Collected from commit records as they are read."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from storage import Failure, LabelStore, Record

_PAUSE = 600.0  # seconds without work; longer pauses are left out of the time of work
_SILENT = 60.0  # seconds beyond three times the longest shard of a worker, after which it has ended
_MOST_FAILURES = 200  # that are kept with their reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One finished shard.

    rows, failed:   pictures in it, and how many of them have no label
    attempt:        in which it was finished
    worker:         who finished it; empty if the record does not say
    begun, finished: seconds since 1970 by the worker's clock; NaN if the record does not say
    """

    rows: int
    failed: int
    attempt: int
    worker: str
    begun: float
    finished: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Pictures a second over the time of work, from which long pauses are left out.

    start, stop: of the time, seconds since 1970
    pauses:      seconds that were left out
    of:          pictures a second in equal parts of it, by worker; the key "" has the sum, float64 [parts]
    """

    start: float
    stop: float
    pauses: float
    of: dict[str, NDArray[np.float64]]


class History:
    """What the commit records of a store say of each shard.

    Args:
        store: the store.
    """

    def __init__(self, store: LabelStore) -> None:
        self._store = store
        self.shards: dict[int, Finished] = {}
        self.failures: list[Failure] = []

    def take(self, shard: int, record: Record | None) -> None:
        """Note what a record says, instead of what it said before; or, without one, that its shard is pending again."""
        if self.shards.pop(shard, None) is not None:
            rows = self._store.rows_of(shard)
            self.failures = [failure for failure in self.failures if failure.row not in rows]
        if record is None:
            return
        attempt, worker, seconds = (record.run.get(name) for name in ("attempt", "worker", "seconds"))
        finished = np.nan
        with suppress(ValueError, OverflowError):
            finished = datetime.fromisoformat(str(record.run.get("finished"))).timestamp()
        self.shards[shard] = Finished(
            rows=len(record.rows),
            failed=len(record.failures),
            attempt=attempt if isinstance(attempt, int) else 1,
            worker=worker if isinstance(worker, str) else "",
            begun=finished - (seconds if isinstance(seconds, int | float) else 0.0),
            finished=finished,
        )
        self.failures += record.failures[: _MOST_FAILURES - len(self.failures)]

    def in_work(self, now: float, damaged: Collection[int] = ()) -> set[int]:
        """The numbers of the shards that are probably in work: the next one of each worker that was seen lately.

        A store does not say who works on what. Shards are handed out in their order, so the next pending one after
        the last that a worker finished is the best guess. A worker that is silent for much longer than its shards take
        has ended.

        Args:
            now: seconds since 1970.
            damaged: shards whose records cannot be read; no run labels them.
        """
        last: dict[str, tuple[float, int]] = {}
        longest: dict[str, float] = {}
        for shard, each in self.shards.items():
            if each.worker and not np.isnan(each.finished):
                longest[each.worker] = max(longest.get(each.worker, 0.0), each.finished - each.begun)
                last[each.worker] = max(last.get(each.worker, (0.0, 0)), (each.finished, shard))
        pending = [n for n in range(self._store.shard_count) if n not in self.shards and n not in damaged]
        found: set[int] = set()
        for worker, (finished, shard) in sorted(last.items(), key=lambda pair: pair[1][1]):
            if pending and now - finished < 3 * longest[worker] + _SILENT:
                found.add(pending.pop(bisect(pending, shard) % len(pending)))
        return found

    def speeds(self, parts: int, workers: list[str]) -> Speeds | None:
        """The speed over time, in at most so many parts, of all and of each of these workers; None if unknown."""
        known = [each for each in self.shards.values() if not np.isnan(each.finished)]
        if not known:
            return None
        begun, finished = (np.array([getattr(each, name) for each in known]) for name in ("begun", "finished"))
        finished = np.maximum(finished, begun + 1)  # records tell whole seconds
        begin, end = _without_pauses(begun, finished)
        length = end.max()
        edges = np.linspace(0.0, length, max(2, min(parts, int(length)) + 1))
        rows = np.array([each.rows for each in known], np.float64)
        who = np.array([each.worker for each in known])
        return Speeds(
            start=float(begun.min()),
            stop=float(finished.max()),
            pauses=float(finished.max() - begun.min() - length),
            of={"": _speed(begin, end, rows, edges)}
            | {name: _speed(begin[who == name], end[who == name], rows[who == name], edges) for name in workers},
        )


def _without_pauses(
    begun: NDArray[np.float64], finished: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same times, in seconds of work since the first: what lies before each is moved up by the pauses before it."""
    order = np.argsort(begun)
    until = np.maximum.accumulate(finished[order])
    gaps = np.append(0.0, begun[order][1:] - until[:-1])
    left_out = np.empty(len(begun))
    left_out[order] = np.cumsum(np.where(gaps > _PAUSE, gaps, 0.0))
    first = begun.min()
    return begun - first - left_out, finished - first - left_out


def _speed(
    begin: NDArray[np.float64], end: NDArray[np.float64], rows: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pictures a second between edges, where those of a shard are spread evenly over its time."""
    done = np.array([(rows * np.clip((edge - begin) / (end - begin), 0, 1)).sum() for edge in edges])
    return np.diff(done) / np.diff(edges)
