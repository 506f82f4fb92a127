"""How much of a store is labelled, and how fast does it grow? Read from its commit records only, on any machine."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from annotate.errors import AnnotateError
from annotate.jobs.watching.pace import Pace
from annotate.text import duration, printable
from storage import LabelStore, NotAStoreError, Record, UnreadableError, open_store
from storage.errors import gone

_AGAIN = 64  # records with failures that each reading reads again: --retry-failed may have replaced them


@dataclass(frozen=True, kw_only=True)
class StoreStatus:
    """The progress of a store.

    pictures, labelled, failed, pending: numbers of rows; rows whose commit record cannot be read are pending
    shards, shards_pending: numbers of shards
    retried: shards that were finished after a failed attempt
    damaged: shards whose commit record cannot be read
    reasons: how many pictures failed with each status
    speed:   pictures a second in the last ten minutes, or None if nothing was finished in them
    workers: for each worker that finished a shard: its pictures, and its pictures a second of working time
    """

    pictures: int
    labelled: int
    failed: int
    pending: int
    shards: int
    shards_pending: int
    retried: int
    damaged: int
    reasons: dict[str, int]
    speed: float | None
    workers: dict[str, tuple[int, float]]

    @property
    def is_at_rest(self) -> bool:
        """Whether no run can do more: all is done, or damaged, which `annotate verify --repair` makes pending."""
        return self.shards_pending == self.damaged

    @property
    def seconds_left(self) -> float | None:
        """Seconds until it is finished at this speed; None if the speed is unknown."""
        return self.pending / self.speed if self.speed else None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        left = self.seconds_left
        return {
            "pictures": self.pictures,
            "labelled": self.labelled,
            "failed": self.failed,
            "pending": self.pending,
            "shards": self.shards,
            "shards_pending": self.shards_pending,
            "retried": self.retried,
            "damaged": self.damaged,
            "reasons": self.reasons,
            "per_second": None if self.speed is None else round(self.speed, 2),
            "seconds_left": None if left is None else round(left),
            "workers": {
                name: {"pictures": count, "per_second": round(speed, 2)}
                for name, (count, speed) in self.workers.items()
            },
        }

    def describe(self, *, shown: int = 8) -> str:
        """A few lines of text for the user."""
        percent = 100 * (self.pictures - self.pending) / self.pictures if self.pictures else 100
        lines = [
            f"{self.labelled:,} of {self.pictures:,} pictures labelled, {self.failed:,} could not be, "
            f"{self.pending:,} pending ({percent:.1f} % done)",
            f"{self.shards - self.shards_pending:,} of {self.shards:,} shards finished"
            + (f", {self.retried:,} of them in a second or third attempt" if self.retried else ""),
        ]
        if self.reasons:
            lines.append("without a label: " + ", ".join(f"{count:,} {word}" for word, count in self.reasons.items()))
        if self.damaged:
            lines.append(
                f"{self.damaged:,} commit records cannot be read; `annotate verify --repair` makes their shards pending"
            )
        if self.pending and self.speed and self.seconds_left is not None:
            lines.append(f"{self.speed:,.1f} pictures a second in the last minutes, {duration(self.seconds_left)} left")
        elif self.pending:
            lines.append("nothing was finished in the last minutes")
        lines += [
            f"  {printable(name)}: {count:,} pictures, {speed:,.1f} a second"
            for name, (count, speed) in [*self.workers.items()][:shown]
        ]
        if len(self.workers) > shown:
            lines.append(f"  … and {len(self.workers) - shown:,} more workers")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """What the record of a shard has added to the sums."""

    rows: int
    labelled: int
    reasons: Counter[str]
    retried: bool
    worker: str | None
    seconds: float


class StatusWatcher:
    """Reads the status of a store again and again, and not again the commit records that cannot have changed.

    What `--retry-failed` labels again is a shard with failures: of these, some are read again at each reading, and all
    at one that finds that no run can do more. A record that has vanished, as after a repair, is counted no more. Speed
    does not depend on the clocks of workers: see `Pace`.

    Args:
        store: any store of labels.
        on_record: called with the number of each shard whose record is read, and the record; or with None for a shard
            that was read and does not count any more.
    """

    def __init__(self, store: LabelStore, *, on_record: Callable[[int, Record | None], None] | None = None) -> None:
        self._store, self._on_record = store, on_record
        self.damaged: frozenset[int] = frozenset()  # shards whose records could not be read the last time
        self._seen: dict[int, _Counted] = {}
        self._failing: dict[int, None] = {}  # shards with failures; what was read longest ago comes first
        self._labelled = self._accounted = self._retried = 0
        self._reasons: Counter[str] = Counter()
        self._workers: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0.0])
        self._pace = Pace()

    def __repr__(self) -> str:
        """The store's address."""
        return f"StatusWatcher({self._store.address!r})"

    def read(self) -> StoreStatus:
        """The status of the store now.

        Raises:
            StoreError: the store cannot be asked, or is not there. It may be asked again.
            AnnotateError: another store is at its address.
        """
        there = self._store.committed()
        self._refuse_another()  # after the listing: that of a store which is gone is empty
        for shard in self._seen.keys() - there:
            self._forget(shard)
        asked = sorted({*(there - self._seen.keys()), *islice(self._failing, _AGAIN)})
        damaged = self._read(asked)
        if self._store.shard_count == len(self._seen) + len(damaged):  # perhaps the last reading
            damaged |= self._read(sorted(self._failing.keys() - {*asked}))
        if damaged:
            self._refuse_another()
        self.damaged = frozenset(damaged)
        rows = len(self._store)
        return StoreStatus(
            pictures=rows,
            labelled=self._labelled,
            failed=self._reasons.total(),
            pending=rows - self._accounted,
            shards=self._store.shard_count,
            shards_pending=self._store.shard_count - len(self._seen),
            retried=self._retried,
            damaged=len(damaged),
            reasons=dict((+self._reasons).most_common()),
            speed=self._pace.per_second(time.time()),
            workers={
                name: (int(count), count / seconds if seconds > 0 else 0.0)
                for name, (count, seconds) in sorted(self._workers.items(), key=lambda each: -each[1][0])
                if count
            },
        )

    def _refuse_another(self) -> None:
        """Check that the header at the address is that of the store. Names of classes may have changed.

        Raises:
            StoreError: there is none now.
            AnnotateError: it is another one.
        """
        address = self._store.address
        try:
            found = open_store(address).header
        except NotAStoreError as error:
            raise gone(address) from error
        if not found.is_of_the_same_store(self._store.header):
            raise AnnotateError(
                f"another store is at {address} now: its header is not that of the store which was watched. Run the "
                "same command again to watch the one that is there"
            )

    def _read(self, shards: list[int]) -> set[int]:
        """Count what the records of these shards say now; the shards whose records are damaged."""
        damaged, written = set(), self._store.backend.written(shards)
        for shard, record in self._store.records_of(shards):
            if isinstance(record, UnreadableError):
                raise record
            if shard in self._seen:
                self._forget(shard)
            if isinstance(record, Record):
                self._take(shard, record, written.get(shard))
            elif record is not None:  # damaged: it may be repaired, so it is read again next time
                damaged.add(shard)
        return damaged

    def _forget(self, shard: int) -> None:
        self._failing.pop(shard, None)
        self._count(self._seen.pop(shard), -1)
        if self._on_record is not None:
            self._on_record(shard, None)

    def _take(self, shard: int, record: Record, written: float | None) -> None:
        if self._on_record is not None:
            self._on_record(shard, record)
        attempt, worker, seconds = (record.run.get(name) for name in ("attempt", "worker", "seconds"))
        counted = _Counted(
            rows=len(self._store.rows_of(shard)),
            labelled=record.labelled,
            reasons=Counter(failure.status.word for failure in record.failures),
            retried=isinstance(attempt, int) and attempt > 1,
            worker=worker if isinstance(worker, str) else None,
            seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        )
        self._seen[shard] = counted
        self._count(counted, 1)
        if record.failures:
            self._failing[shard] = None
        if written is not None:
            self._pace.take(shard, counted.worker, written=written, seconds=counted.seconds, rows=counted.rows)

    def _count(self, counted: _Counted, sign: int) -> None:
        self._accounted += sign * counted.rows
        self._labelled += sign * counted.labelled
        self._retried += sign * counted.retried
        for word, count in counted.reasons.items():
            self._reasons[word] += sign * count
        if counted.worker is not None:
            total = self._workers[counted.worker]
            total[0] += sign * counted.rows
            total[1] += sign * counted.seconds
