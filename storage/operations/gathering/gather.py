"""How are rows of finished stores written into another store? As stored, shard by shard, so that not a bit changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.encoding.coded_labels import CodedLabels
from storage.operations.progress import OnProgress, Progress
from storage.record import Failure
from storage.store import LabelStore, put


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What was gathered in a store.

    address:      address of the new store
    pictures:     pictures in it, labelled or not
    gathered_now: how many of them this call wrote
    pending:      how many of them are still pending, because a picture of their shard is pending in its source
    """

    address: str
    pictures: int
    gathered_now: int
    pending: int

    @property
    def complete(self) -> bool:
        """Whether nothing is pending."""
        return not self.pending

    def describe(self) -> str:
        """What was done, for a person."""
        lines = [f"wrote {self.gathered_now:,} of {self.pictures:,} pictures to {self.address}, equal to the bit"]
        if self.pending:
            lines.append(
                f"{self.pending:,} pictures are pending, because pictures of their shards are pending in a source; run "
                "the same command again when they are labelled"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"pictures": self.pictures, "gathered_now": self.gathered_now, "pending": self.pending}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Where each row of a new store comes from: the number of its source, and its row there, int64 [rows] each."""

    source: NDArray[np.int64]
    row: NDArray[np.int64]


def gather(sources: Sequence[LabelStore], origins: Origins, target: LabelStore, on_progress: OnProgress) -> Gathered:
    """Write every shard of the target whose rows are all committed in their sources, and that it lacks.

    Raises:
        DamageError: a source is damaged; what was written before stays.
        StoreError: writing failed.
    """
    committed = [_is_committed(source) for source in sources]
    there = target.committed()
    before = done = sum(len(target.rows_of(shard)) for shard in there)
    on_progress(Progress(done, len(target), 0))
    for shard, rows in enumerate(target.shards()):
        if shard in there:
            continue
        of, at = origins.source[rows.start : rows.stop], origins.row[rows.start : rows.stop]
        if not all(committed[number][at[of == number]].all() for number in np.unique(of).tolist()):
            continue
        labels, failures, run = _shard(sources, of, at, rows)
        put(target.backend, shard, labels, failures=failures, run=run)
        done += len(rows)
        on_progress(Progress(done, len(target), 0))
    if done == len(target):
        target.backend.remove_leftovers()
    return Gathered(
        address=target.address, pictures=len(target), gathered_now=done - before, pending=len(target) - done
    )


def fetch_rows(source: LabelStore, rows: NDArray[np.int64]) -> CodedLabels:
    """The labels of these rows of a store, as stored."""
    shards, within = np.divmod(rows, source.schema.rows_per_shard)
    return source.backend.fetch(list(zip(shards.tolist(), within.tolist(), strict=True)))


def _is_committed(source: LabelStore) -> NDArray[np.bool_]:
    """Whether each row of a store is committed: bool [rows]."""
    found = np.zeros(len(source), bool)
    for shard in source.committed():
        rows = source.rows_of(shard)
        found[rows.start : rows.stop] = True
    return found


def _shard(
    sources: Sequence[LabelStore], of: NDArray[np.int64], at: NDArray[np.int64], rows: range
) -> tuple[CodedLabels, list[Failure], Mapping[str, Any]]:
    """The labels of a new shard, its failures, and what its record says of its run: when the last row was labelled."""
    parts: list[CodedLabels] = []
    places: list[NDArray[np.int64]] = []
    failures: list[Failure] = []
    finished: list[str] = []
    for number in np.unique(of).tolist():
        source, mine = sources[number], np.flatnonzero(of == number)
        parts.append(fetch_rows(source, at[mine]))
        places.append(mine)
        new_row = {int(at[place]): rows.start + int(place) for place in mine}
        for _, record in source.records_of(sorted({row // source.schema.rows_per_shard for row in new_row})):
            if isinstance(record, Exception):
                raise record
            if record is None:
                continue
            finished.append(str(record.run.get("finished", "")))
            failures += [
                Failure(row=new_row[failure.row], status=failure.status, reason=failure.reason)
                for failure in record.failures
                if failure.row in new_row
            ]
    order = np.argsort(np.concatenate(places))
    labels = CodedLabels._make(np.concatenate(arrays)[order] for arrays in zip(*parts, strict=True))
    latest = max(finished, default="")
    return labels, sorted(failures, key=lambda failure: failure.row), {"finished": latest} if latest else {}
