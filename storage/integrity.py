"""Is a store still what was written? Every shard is read again and held against its commit record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from storage.errors import DamageError, StoreError
from storage.labelmap import LabelMap, no_class
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

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "rows": [self.rows.start, self.rows.stop],
            "state": self.state,
            "labelled": self.labelled,
            "failed": self.failed,
            "problems": list(self.problems),
        }


def verify(store: LabelStore) -> Iterator[ShardReport]:
    """Read every committed shard of a store again and report on each, in order.

    Checks the hashes of keys and targets, every commit record, the checksum of every object against it, the checksum
    of every chunk, that every row is accounted for, and that every value is in its range.

    Raises:
        DamageError: the damage is not in a shard: keys or metadata are not readable.
    """
    if len(store.keys) != len(store):
        raise DamageError(f"the store {store.address} has {len(store.keys)} keys for {len(store)} rows")
    store.column("targets")  # checks itself
    for shard, rows in enumerate(store.schema.shards(len(store))):
        try:
            record = store.record(shard)
            if record is None:
                yield ShardReport(rows=rows, state="pending")
                continue
            problems = [*_objects(store, rows, record), *_values(store, record, store.read(rows))]
        except StoreError as error:
            yield ShardReport(rows=rows, state="damaged", problems=(str(error),))
            continue
        yield ShardReport(
            rows=rows,
            state="damaged" if problems else "ok",
            labelled=record.labelled,
            failed=len(record.failures),
            problems=tuple(problems),
        )


def _objects(store: LabelStore, rows: range, record: Record) -> Iterator[str]:
    """The objects against the checksums that were taken when they had been written."""
    if record.rows != rows:
        yield f"the commit record is of rows {record.start} to {record.stop}"
    found = store.checksums(rows)
    for key in sorted(record.objects.keys() | found.keys()):
        if found.get(key) != record.objects.get(key):
            expected = record.objects.get(key, "no such object")
            yield f"{key}: its SHA-256 is {found.get(key, 'missing')}, the commit record has {expected}"


def _values(store: LabelStore, record: Record, labels: LabelMap) -> Iterator[str]:
    """The values against the schema and the record. That scores are probabilities, LabelMap has checked."""
    known = labels.classes[labels.classes != no_class(labels.classes.dtype)]
    if known.size and known.max() >= store.schema.class_count:
        yield f"there is a class {known.max()}, but the store has {store.schema.class_count} classes"
    failed = {record.start + int(place) for place in np.flatnonzero(labels.status != Status.LABELLED)}
    if failed != {failure.row for failure in record.failures} or record.labelled != len(labels) - len(failed):
        yield f"{len(failed)} rows have no label, but the commit record accounts for {len(record.failures)}"
