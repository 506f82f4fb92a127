"""Is a store still what was written? Every shard is read again and compared with its commit record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from storage.encoding import coded_labels as coding
from storage.errors import DamageError, StoreError
from storage.operations.manifest import MANIFEST, differences
from storage.progress import OnProgress, Progress, silent
from storage.record import Record
from storage.status import Status
from storage.store import LabelStore


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What was found in one shard: its rows, "ok", "pending" or "damaged", and each problem in one sentence."""

    rows: range
    state: Literal["ok", "pending", "damaged"]
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


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found in a whole store: what is wrong with what all shards share, and the report of every shard."""

    shared: tuple[str, ...]
    shards: tuple[ShardReport, ...]

    def __repr__(self) -> str:
        """Short, however many shards there are."""
        return f"Verification({self.state}, {len(self.shared)} shared problems, {len(self.shards):,} shards)"

    @property
    def state(self) -> Literal["ok", "pending", "damaged"]:
        """The worst that was found."""
        if self.shared or self._having("damaged"):
            return "damaged"
        return "pending" if self._having("pending") else "ok"

    def describe(self) -> str:
        """The problems and the sums, for a person."""
        lines = [*self.shared]
        for report in self._having("damaged"):
            lines.append(f"rows {report.rows.start} to {report.rows.stop} are damaged:")
            lines += [f"  {problem}" for problem in report.problems]
        damaged, pending = len(self._having("damaged")), len(self._having("pending"))
        lines.append(
            f"{len(self.shards):,} shards: {len(self.shards) - damaged - pending:,} ok, {damaged:,} damaged, "
            f"{pending:,} pending; {sum(report.labelled for report in self.shards):,} pictures labelled, "
            f"{sum(report.failed for report in self.shards):,} could not be"
        )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "state": self.state,
            "problems": list(self.shared),
            "shards": [report.to_json() for report in self.shards],
        }

    def _having(self, state: str) -> list[ShardReport]:
        return [report for report in self.shards if report.state == state]


def verify(store: LabelStore, *, deep: bool = False, on_progress: OnProgress = silent) -> Verification:
    """Read a whole store again, and compare it with what was written.

    This checks the hashes of keys and targets, the metadata, the key index, the manifest of a finalized store, every
    commit record, the SHA-256 of every object of a shard against its record, and that every row is accounted for.
    With `deep`, it also decodes every chunk and checks that every value is in its range.

    Args:
        store: the store.
        deep: decode everything.
        on_progress: called when verification begins and after each shard.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     verify(create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg", "dog/2.jpg"])).state
        'pending'
    """
    shards = []
    progress = Progress(0, len(store), 0)
    on_progress(progress)
    for shard in range(store.shard_count):
        found = _verify_shard(store, shard, deep)
        shards.append(found)
        progress = Progress(progress.done + len(found.rows), progress.total, progress.failed + found.failed)
        on_progress(progress)
    return Verification(shared=tuple(_verify_shared(store)), shards=tuple(shards))


def repair(store: LabelStore, found: Verification) -> list[str]:
    """Make damaged shards pending again, and write again what follows from header and keys.

    Args:
        store: the store, opened with `writable=True`.
        found: what `verify` found in it.

    Returns:
        One sentence for each problem that cannot be repaired.

    Raises:
        StoreError: the store was opened for reading.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg", "dog/2.jpg"])
        ...     repair(store, verify(store))
        []
    """
    for shard, report in enumerate(found.shards):
        if report.state == "damaged":
            store.backend.forget(shard)
    if found.shared:
        with suppress(DamageError):  # damaged keys, from which everything else follows; reported again below
            store.backend.rebuild()
    store.backend.delete_object(MANIFEST)  # the store is no longer the one that was published
    return _verify_shared(store)


def _verify_shard(store: LabelStore, shard: int, deep: bool) -> ShardReport:
    rows = store.rows_of(shard)
    try:
        record = store.record(shard)
        if record is None:
            return ShardReport(rows=rows, state="pending")
        problems = [*_objects(store, shard, record), *_rows(store, shard, record)]
        if deep:
            coded = store.backend.fetch([(shard, row) for row in range(len(rows))])
            problems += coding.problems(coded, store.schema)
    except StoreError as error:
        return ShardReport(rows=rows, state="damaged", problems=(str(error),))
    return ShardReport(
        rows=rows,
        state="damaged" if problems else "ok",
        labelled=record.labelled,
        failed=len(record.failures),
        problems=tuple(problems),
    )


def _verify_shared(store: LabelStore) -> list[str]:
    """One sentence for each thing that is wrong with what all shards share."""
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
    return list(found)


def _objects(store: LabelStore, shard: int, record: Record) -> Iterator[str]:
    """Compare the objects with the checksums that were taken when they had been written."""
    found = store.backend.checksums(shard)
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
