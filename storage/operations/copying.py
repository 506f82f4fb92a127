"""How is a store copied to another backend? Shard by shard, as stored, so that not a bit changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from storage.encoding.coded_labels import CodedLabels
from storage.errors import MismatchError, StoreError
from storage.operations.progress import OnProgress, Progress, silent
from storage.operations.target import create_target, lies_inside
from storage.store import LabelStore, put


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What a copy did.

    address:    address of the copy
    pictures:   pictures in both stores, labelled or not
    copied_now: how many of them this call copied
    pending:    how many of them are still pending, because they are pending in the source
    """

    address: str
    pictures: int
    copied_now: int
    pending: int

    @property
    def complete(self) -> bool:
        """Whether nothing is pending."""
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


def copy(source: LabelStore, address: str, *, on_progress: OnProgress = silent) -> Copied:
    """Copy a store to another address, of any backend; continue where an earlier copy ended.

    Args:
        source: the store.
        address: where the copy is to be made, or an unfinished one exists.
        on_progress: called when the copy begins and after each shard.

    Raises:
        StoreError: the address is inside the source.
        MismatchError: the store at the address is not a copy of the source.
        DamageError: the source is damaged; what was copied before stays.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store, open_store
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg", "dog/2.jpg"])
        ...     copied = copy(source, f"{folder}/copy.zarr")
        ...     copied.copied_now, copied.pending, list(open_store(copied.address).keys)
        (0, 2, ['cat/1.jpg', 'dog/2.jpg'])
    """
    if lies_inside(address, source):
        raise StoreError(
            f"cannot copy {source.address} to {address}: the target is inside the source; give an address outside it"
        )
    target = create_target(address, source.schema, source.keys, source.targets)
    there, shards = target.committed(), source.shards()
    before = done = sum(len(shards[shard]) for shard in there)
    on_progress(Progress(done, len(source), 0))
    for shard, rows in enumerate(shards):
        if (record := source.record(shard)) is None:
            continue
        positions = [(shard, row) for row in range(len(rows))]
        labels = source.backend.fetch(positions)
        if shard in there:
            if _bytes(labels) != _bytes(target.backend.fetch(positions)):
                raise MismatchError(
                    address, [f"labels: rows {rows.start} to {rows.stop} of the store differ from those of the source"]
                )
            continue
        put(target.backend, shard, labels, failures=record.failures, run=record.run)
        done += len(rows)
        on_progress(Progress(done, len(source), 0))
    if done == len(source):
        target.backend.remove_leftovers()
    return Copied(address=address, pictures=len(source), copied_now=done - before, pending=len(source) - done)


def _bytes(labels: CodedLabels) -> list[bytes]:
    arrays: tuple[NDArray[Any], ...] = labels
    return [array.tobytes() for array in arrays]
