"""What does every store of label maps promise? The contract, whatever lies below."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from storage.errors import KeyNotFoundError, MismatchError, StoreError
from storage.keys import key_differences
from storage.labelmap import LabelMap
from storage.record import Failure, Record
from storage.schema import Schema
from storage.status import Status

RowArray = Literal["boxes", "sizes", "status", "targets"]


class LabelStore(ABC):
    """Label maps by row, and rows by key. Backends are final subclasses.

    - Row i belongs to the i-th key, for ever. Rows form shards of `schema.rows_per_shard`; the last may be shorter.
    - A shard is written whole, by one writer, any number of times with the same result. Its commit record is written
      last; until then none of its rows can be read. Different shards may be written at once by different processes.
    - A store is picklable: what travels is its address. Reading is safe in forked and spawned processes.
    - Nothing is served as a label whose checksum does not hold: a `DamageError` is raised instead.
    """

    address: str
    schema: Schema

    @property
    @abstractmethod
    def keys(self) -> Sequence[str]:
        """The key of every row."""

    @abstractmethod
    def record(self, shard: int) -> Record | None:
        """The commit record of a shard, or None where there is none yet.

        Raises:
            DamageError: there is one, but it cannot be read.
        """

    def records(self) -> Iterator[tuple[range, Record | None]]:
        """The rows and the commit record, or None, of every shard in order.

        Raises:
            DamageError: at a record that cannot be read.
        """
        for shard, rows in enumerate(self.schema.shards(len(self))):
            yield rows, self.record(shard)

    @abstractmethod
    def pending(self) -> list[range]:
        """The rows of every shard without a commit record, in order."""

    @abstractmethod
    def write(
        self, rows: range, labels: LabelMap, *, reasons: Mapping[int, str] | None = None, run: Mapping[str, Any] = {}
    ) -> Record:
        """Write one shard whole, then its commit record.

        Args:
            rows: the rows of one shard.
            labels: one label for each row.
            reasons: why rows have no label, by row; every row that is not labelled needs one.
            run: what the record says of the run: attempt, seconds, worker.

        Raises:
            StoreError: the rows are not a shard, the labels do not fit the schema, or the storage refuses.
        """

    @abstractmethod
    def read(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> LabelMap:
        """The labels of these rows, in this order, as a batch [n, h, w, k].

        Raises:
            NotLabelledError: a row's shard is not committed.
            DamageError: bytes are missing or fail their checksum.
            IndexError: there is no such row.
        """

    @abstractmethod
    def column(self, name: RowArray) -> NDArray[Any]:
        """One small array over all rows; rows that are not committed hold its fill value.

        Raises:
            DamageError: it is not what was written.
        """

    @abstractmethod
    def checksums(self, rows: range) -> dict[str, str]:
        """The SHA-256, in hexadecimal, of every object of this shard as it is now, by its key.

        Objects that are not there are left out. The commit record itself is not among them.
        """

    @abstractmethod
    def find(self, key: str) -> int:
        """The row of a key.

        Raises:
            KeyNotFoundError: the store has no such key.
        """

    @abstractmethod
    def __len__(self) -> int:
        """How many rows there are, labelled or not."""

    def check_shard(self, rows: range) -> None:
        """Refuse rows that are not exactly one shard: writing across a boundary would lose a neighbour's work."""
        step = self.schema.rows_per_shard
        if not rows or rows.start % step or rows != range(rows.start, min(rows.start + step, len(self))):
            raise StoreError(
                f"cannot write rows {rows.start} to {rows.stop} of {self.address}: a shard is written whole, from "
                f"a multiple of {step} to {step} rows later or to row {len(self)}"
            )

    def check_labels(self, rows: range, labels: LabelMap) -> None:
        """Refuse labels that do not fit the schema."""
        expected = (len(rows), *self.schema.grid, self.schema.k)
        if labels.classes.shape != expected or labels.classes.dtype != self.schema.class_dtype:
            raise StoreError(
                f"cannot write rows {rows.start} to {rows.stop} of {self.address}: the labels are "
                f"{labels.classes.dtype} {labels.classes.shape}, the store holds {self.schema.class_dtype} {expected}"
            )


def failures_of(rows: range, labels: LabelMap, reasons: Mapping[int, str]) -> tuple[Failure, ...]:
    """The rows of a shard that have no label, for its commit record.

    Raises:
        StoreError: one of them has no reason.
    """
    unlabelled = [
        (row, Status(status))
        for row, status in zip(rows, labels.status.tolist(), strict=True)
        if status != Status.LABELLED
    ]
    if missing := [row for row, _ in unlabelled if row not in reasons]:
        raise StoreError(f"cannot write row {missing[0]}: it has no label, and no reason was given why")
    return tuple(Failure(row=row, status=status, reason=reasons[row]) for row, status in unlabelled)


def no_such_key(address: str, key: str) -> KeyNotFoundError:
    """The error of `find`, worded once."""
    return KeyNotFoundError(
        f"the store {address} has no row for the key {key!r}; keys are paths relative to the folder that was labelled, "
        "with / between their parts"
    )


def refuse_differences(store: LabelStore, schema: Schema, keys: Sequence[str]) -> None:
    """Compare a store with what a run is about to write into it.

    Raises:
        MismatchError: naming each field that differs.
    """
    differences = store.schema.differences(schema) + key_differences(store.keys, keys)
    if differences:
        raise MismatchError(store.address, differences)
