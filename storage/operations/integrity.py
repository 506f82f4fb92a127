"""Is a store still what was written? Every shard is read again and compared with its commit record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final, overload

import numpy as np

from storage.backend import LOOKS
from storage.encoding import coded_labels as coding
from storage.errors import DamageError, NotLabelledError, StoreError, UnreadableError
from storage.header import Header
from storage.operations.manifest import differences
from storage.operations.progress import OnProgress, Progress, silent
from storage.record import Record
from storage.status import Status
from storage.store import LabelStore

State = Literal["ok", "pending", "damaged", "unreadable"]


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What was found in one shard: its rows, its state, and each problem in one sentence.

    "damaged" says that bytes are missing or not what was written, and "unreadable" that nobody knows.
    """

    rows: range
    state: State
    labelled: int = 0
    failed: int = 0
    problems: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Short, however many problems there are."""
        found = f", {len(self.problems)} problems" if self.problems else ""
        return f"ShardReport(rows {self.rows.start} to {self.rows.stop} {self.state}{found})"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "rows": [self.rows.start, self.rows.stop],
            "state": self.state,
            "labelled": self.labelled,
            "failed": self.failed,
            "problems": list(self.problems),
        }


@final
class ShardReports(Sequence[ShardReport]):
    """The report of every shard. Those of pending ones are made when they are asked for: there may be millions.

    read: the reports of the others, by the number of their shard
    """

    def __init__(self, header: Header, read: Mapping[int, ShardReport]) -> None:
        """Args: the header of the store, and the reports of the shards that are not pending."""
        self._header = header
        self.read = read

    def __repr__(self) -> str:
        """How many there are."""
        return f"ShardReports({len(self):,} shards, {len(self) - len(self.read):,} pending)"

    def __len__(self) -> int:
        return self._header.shard_count

    @overload
    def __getitem__(self, index: int) -> ShardReport: ...

    @overload
    def __getitem__(self, index: slice) -> list[ShardReport]: ...

    def __getitem__(self, index: int | slice) -> ShardReport | list[ShardReport]:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self[number] for number in numbers]
        found = self.read.get(numbers)
        return ShardReport(rows=self._header.rows_of(numbers), state="pending") if found is None else found


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found in a whole store.

    shared:     what is wrong with what all shards share
    shards:     the report of every shard
    unreadable: what all shards share and could not be read
    """

    shared: tuple[str, ...]
    shards: ShardReports
    unreadable: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Short, however many shards there are."""
        return f"Verification({self.state}, {len(self.shared)} shared problems, {len(self.shards):,} shards)"

    @property
    def state(self) -> State:
        """The worst that was found: "unreadable" before "damaged", since more may be found once all can be read."""
        if self.unreadable or self._having("unreadable"):
            return "unreadable"
        if self.shared or self._having("damaged"):
            return "damaged"
        return "pending" if len(self.shards.read) < len(self.shards) else "ok"

    def describe(self) -> str:
        """The problems and the sums, for a person."""
        lines = [*self.unreadable, *self.shared]
        for state in ("unreadable", "damaged"):
            for report in self._having(state):
                lines.append(f"rows {report.rows.start} to {report.rows.stop} are {state}:")
                lines += [f"  {problem}" for problem in report.problems]
        read = self.shards.read.values()
        count = Counter(report.state for report in read)
        unreadable = f"{count['unreadable']:,} unreadable, " if count["unreadable"] else ""
        lines.append(
            f"{len(self.shards):,} shards: {count['ok']:,} ok, {unreadable}{count['damaged']:,} damaged, "
            f"{len(self.shards) - len(read):,} pending; {sum(report.labelled for report in read):,} pictures labelled, "
            f"{sum(report.failed for report in read):,} could not be"
        )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "state": self.state,
            "problems": list(self.shared),
            "unreadable": list(self.unreadable),
            "shards": [report.to_json() for report in self.shards],
        }

    def _having(self, state: str) -> list[ShardReport]:
        return [report for report in self.shards.read.values() if report.state == state]


def verify(store: LabelStore, *, deep: bool = False, on_progress: OnProgress = silent) -> Verification:
    """Read a whole store again, and compare it with what was written.

    This checks the hashes of keys and targets, the metadata, the key index, the manifest of a finalized store, every
    commit record, the SHA-256 of every object of a shard against its record, and that every row is accounted for.
    With `deep`, it also decodes every chunk and checks that every value is in its range.

    Args:
        store: the store.
        deep: decode everything.
        on_progress: called when verification begins and after each shard that is not pending, and at the end.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     verify(create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg", "dog/2.jpg"])).state
        'pending'
    """
    read: dict[int, ShardReport] = {}
    progress = Progress(0, len(store), 0)
    on_progress(progress)
    for shard in sorted(_committed(store)):
        found = verify_shard(store, shard, deep)
        if found.state != "pending":  # else it was removed meanwhile
            read[shard] = found
        progress = Progress(found.rows.stop, progress.total, progress.failed + found.failed)
        on_progress(progress)
    if progress.done < progress.total:  # the last shards are pending
        on_progress(replace(progress, done=progress.total))
    shared, unreadable = verify_shared(store)
    return Verification(shared=tuple(shared), shards=ShardReports(store.header, read), unreadable=tuple(unreadable))


def _committed(store: LabelStore) -> Collection[int]:
    """The shards to read: those with a record by one listing, since a header may say that there are millions.

    All, if they cannot be listed: then each says so.
    """
    try:
        return store.committed()
    except UnreadableError:
        return range(store.shard_count)


def verify_shard(store: LabelStore, shard: int, deep: bool) -> ShardReport:
    """Read a shard again, and compare it with its commit record; again, a moment later, where they do not match.

    Damage is what stays the same. A shard whose record differs at each look is pending: a writer is replacing it.
    """
    before = last = _look(store, shard, deep)
    for pause in LOOKS:
        if last[0].state != "damaged":
            break
        time.sleep(pause)
        before, last = last, _look(store, shard, deep)
        if last == before:
            break
    found, record = last
    if found.state == "damaged" and record != before[1]:
        return ShardReport(rows=found.rows, state="pending")
    return found


def _look(store: LabelStore, shard: int, deep: bool) -> tuple[ShardReport, Record | None]:
    """What is found in a shard, and its commit record, if it can be read."""
    rows, record = store.rows_of(shard), None
    try:
        record, objects = store.backend.recorded(shard)
        if record is None:
            return ShardReport(rows=rows, state="pending"), None
        problems = [*_objects(record, objects)]
        if not problems:  # otherwise no backend reads it
            problems += _rows(store, shard, record)
        if deep and not problems:
            coded = store.backend.fetch([(shard, row) for row in range(len(rows))])
            problems += coding.problems(coded, store.schema)
    except DamageError as error:
        return ShardReport(rows=rows, state="damaged", problems=(str(error),)), record
    except NotLabelledError:  # its record was removed meanwhile: a writer replaces it
        return ShardReport(rows=rows, state="pending"), None
    except StoreError as error:  # which says nothing of the bytes
        return ShardReport(rows=rows, state="unreadable", problems=(str(error),)), record
    report = ShardReport(
        rows=rows,
        state="damaged" if problems else "ok",
        labelled=record.labelled,
        failed=len(record.failures),
        problems=tuple(problems),
    )
    return report, record


def verify_shared(store: LabelStore) -> tuple[list[str], list[str]]:
    """One sentence for each thing that is wrong with what all shards share, and for each that could not be read."""
    unreadable: dict[str, None] = {}
    found: dict[str, None] = {}  # each once: damaged keys are found again when the index is compared with them
    checks: tuple[Callable[[], object], ...] = (
        lambda: store.keys,
        lambda: store.targets,
        lambda: found.update(dict.fromkeys(store.backend.problems())),
        lambda: found.update(dict.fromkeys(differences(store))),
    )
    for check in checks:
        try:
            check()
        except DamageError as error:
            found[str(error)] = None
        except UnreadableError as error:
            unreadable[str(error)] = None
        except StoreError as error:  # a key occurs twice
            found[str(error)] = None
    return list(found), list(unreadable)


def _objects(record: Record, found: Mapping[str, str]) -> Iterator[str]:
    """Compare the objects, as they were found, with the checksums that were taken when they had been written."""
    for name in sorted(record.objects.keys() | found.keys()):
        if found.get(name) != record.objects.get(name):
            expected = record.objects.get(name, "no object of this name")
            yield f"{name}: its SHA-256 is {found.get(name, 'missing')}, the commit record has {expected}"


def _rows(store: LabelStore, shard: int, record: Record) -> Iterator[str]:
    """Compare the status of every row with the commit record."""
    if record.rows != store.rows_of(shard):
        yield f"the commit record is of rows {record.start} to {record.stop}"
    status = store.backend.fetch_rows("status", shard)
    failed = {record.start + int(row) for row in np.flatnonzero(status != Status.LABELLED)}
    if failed != {failure.row for failure in record.failures} or record.labelled != len(status) - len(failed):
        yield f"{len(failed)} rows have no label, but the commit record accounts for {len(record.failures)}"
