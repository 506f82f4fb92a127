"""How does a store move to another backend? Shard by shard, as it rests, so that not a bit changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.backends import absolute, create_store
from storage.coding import CodedLabels
from storage.errors import MismatchError, StoreError
from storage.progress import Progress
from storage.store import LabelStore


@dataclass(frozen=True, kw_only=True)
class Copied:
    """How a copy went: its address, its pictures, those copied now, and those that are pending in the source too."""

    address: str
    pictures: int
    copied_now: int
    pending: int

    @property
    def complete(self) -> bool:
        """Nothing is pending."""
        return not self.pending

    def describe(self) -> str:
        """What the copy did, for a person."""
        lines = [f"copied {self.copied_now:,} of {self.pictures:,} pictures to {self.address}, equal to the bit"]
        if self.pending:
            lines.append(f"{self.pending:,} pictures are pending in the source; copy again when they are labelled")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"pictures": self.pictures, "copied_now": self.copied_now, "pending": self.pending}


def copy(source: LabelStore, address: str, *, report: Callable[[Progress], None] = lambda progress: None) -> Copied:
    """Copy what a store has into another at this address, of whatever backend; go on where an earlier copy ended.

    Args:
        source: the store.
        address: of a new store, or of an unfinished copy.
        report: called when the copy begins and after each shard.

    Raises:
        StoreError: the address is inside the source.
        MismatchError: another store is at the address.
        DamageError: the source is damaged; what was copied before stays.
    """
    if f"{absolute(address)}/".startswith(f"{absolute(source.address).rstrip('/')}/"):
        raise StoreError(f"cannot copy {source.address} to {address}: that is inside of it; give an address beside it")
    target = create_store(address, source.schema, source.keys, source.targets.tolist())
    if not np.array_equal(target.targets, source.targets):
        raise MismatchError(address, ["targets: the data set's own classes are others"])
    there, shards = target.committed(), source.shards()
    before = done = sum(len(shards[shard]) for shard in there)
    report(Progress(done, len(source), 0))
    for shard, rows in enumerate(shards):
        if (record := source.record(shard)) is None:
            continue
        places = [(shard, place) for place in range(len(rows))]
        labels = source.fetch(places)
        if shard in there:
            if _bytes(labels) != _bytes(target.fetch(places)):
                raise MismatchError(address, [f"labels: rows {rows.start} to {rows.stop} are others"])
            continue
        target.put(shard, labels, failures=record.failures, run=record.run)
        done += len(rows)
        report(Progress(done, len(source), 0))
    if done == len(source):
        target.tidy()
    return Copied(address=address, pictures=len(source), copied_now=done - before, pending=len(source) - done)


def _bytes(labels: CodedLabels) -> list[bytes]:
    arrays: tuple[NDArray[Any], ...] = labels
    return [array.tobytes() for array in arrays]
