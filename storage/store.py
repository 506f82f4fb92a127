"""What does every store of label maps promise? The contract, whatever lies below."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from storage import coding
from storage.coding import CodedLabels
from storage.errors import DamageError, KeyNotFoundError, MismatchError, NotLabelledError, StoreError
from storage.header import Header, hash_targets
from storage.key_index import KeyIndex
from storage.keys import hash_keys, hash_sound_keys, key_differences
from storage.labelmap import LabelMap
from storage.record import Failure, Record
from storage.schema import Schema
from storage.status import Status

RowArray = Literal["boxes", "sizes", "status"]
_AHEAD = 32  # commit records that are asked for at once where they are far away


class LabelStore(ABC):
    """Label maps by row, and rows by key. Backends are final subclasses.

    - Row i belongs to the i-th key, for ever. Rows form shards of `schema.rows_per_shard`; the last may be shorter.
    - A shard is written whole, by one writer, any number of times with the same result. Its commit record is written
      last; until then none of its rows can be read. Different shards may be written at once by different processes.
    - A store is picklable: what travels is its address. Reading is safe in forked and spawned processes.
    - Nothing is served as a label whose checksum does not hold: a `DamageError` is raised instead.

    What a backend gives comes first; what is made of it, the same for all, follows.
    """

    def __init__(self, address: str, header: Header, *, far: bool = False) -> None:
        """Args: the address, as errors name it, the header that was found there, and whether each object is far away:
        quicker to have many at once than one after the other.
        """
        self.address = address
        self.header = header
        self.schema: Schema = header.schema
        self._known: frozenset[int] = frozenset()  # shards seen committed
        self._far = far

    @abstractmethod
    def load_keys(self) -> Sequence[str]:
        """The keys as they lie there, not yet held against their hash.

        Raises:
            DamageError: they cannot be read.
        """

    @abstractmethod
    def load_targets(self) -> NDArray[np.int32]:
        """The targets as they lie there, not yet held against their hash.

        Raises:
            DamageError: they cannot be read.
        """

    @abstractmethod
    def load_key_index(self) -> KeyIndex:
        """What finds rows by keys, mapped where it can be.

        Raises:
            DamageError: it cannot be read.
        """

    @abstractmethod
    def committed(self) -> frozenset[int]:
        """The numbers of the shards that have a commit record now."""

    @abstractmethod
    def record(self, shard: int) -> Record | None:
        """The commit record of a shard, or None where there is none yet.

        Raises:
            DamageError: there is one, but it cannot be read.
        """

    @abstractmethod
    def fetch(self, places: Sequence[tuple[int, int]]) -> CodedLabels:
        """The labels at these places, (number of a committed shard, row within it), as they rest.

        Raises:
            DamageError: bytes are missing or fail their checksum.
        """

    def fetch_one(self, shard: int, place: int) -> CodedLabels:
        """The label of one place, without the first axis. A backend that can do it quicker does."""
        return CodedLabels._make(part[0, ...] for part in self.fetch([(shard, place)]))

    @abstractmethod
    def fetch_rows(self, name: RowArray, shard: int) -> NDArray[Any]:
        """One of the small arrays, for all rows of a committed shard.

        Raises:
            DamageError: bytes are missing or fail their checksum.
        """

    @abstractmethod
    def put(
        self, shard: int, labels: CodedLabels, *, failures: Sequence[Failure] = (), run: Mapping[str, Any] = {}
    ) -> Record:
        """Write the labels of one shard as they rest, then its commit record.

        Raises:
            StoreError: the storage refuses, or the store was opened for reading.
        """

    @abstractmethod
    def forget(self, shard: int) -> None:
        """Remove the commit record of a shard: it is pending again."""

    @abstractmethod
    def checksums(self, shard: int) -> dict[str, str]:
        """The SHA-256, in hexadecimal, of every object of this shard as it is now, by its name.

        Objects that are not there are left out. The commit record itself is not among them.
        """

    @abstractmethod
    def problems(self) -> Iterator[str]:
        """One sentence for each thing that is wrong with what all shards share, beyond header, keys and targets."""

    @abstractmethod
    def mend(self) -> None:
        """Write anew what follows from the header and the keys alone."""

    @abstractmethod
    def object_names(self) -> Iterator[str]:
        """The names of all objects, sorted."""

    @abstractmethod
    def read_object(self, name: str) -> bytes | None:
        """The bytes of an object, or None where there is none."""

    @abstractmethod
    def write_object(self, name: str, data: bytes) -> None:
        """Write an object whole."""

    @abstractmethod
    def delete_object(self, name: str) -> None:
        """Remove an object, if it is there."""

    @abstractmethod
    def tidy(self) -> None:
        """Remove what killed writers left half written. Nobody may be writing."""

    @abstractmethod
    def consolidate(self) -> None:
        """Make opening quick for others, now that nothing changes any more."""

    @cached_property
    def keys(self) -> Sequence[str]:
        """The key of every row. Their SHA-256 is checked once.

        Raises:
            DamageError: they are not what was written.
        """
        keys = self.load_keys()
        if hash_keys(keys) != self.header.keys_sha256:
            raise self._not_what_was_written("keys")
        return keys

    @cached_property
    def targets(self) -> NDArray[np.int32]:
        """The data set's own class of every row, or -1. Their SHA-256 is checked once.

        Raises:
            DamageError: they are not what was written.
        """
        targets = self.load_targets()
        if hash_targets(targets) != self.header.targets_sha256:
            raise self._not_what_was_written("targets")
        return targets

    @final
    def find(self, key: str) -> int:
        """The row of a key, in microseconds.

        Raises:
            KeyNotFoundError: the store has no such key.
        """
        row = self._key_index.find(key)
        if row is None:
            raise KeyNotFoundError(
                f"the store {self.address} has no row for the key {key!r}; keys are paths relative to the folder that "
                "was labelled, with / between their parts"
            )
        return row

    @final
    def __len__(self) -> int:
        """How many rows there are, labelled or not."""
        return self.header.rows

    @final
    def shards(self) -> list[range]:
        """The rows of each shard."""
        return self.schema.shards(len(self))

    @property
    @final
    def shard_count(self) -> int:
        """How many shards there are."""
        return -(-len(self) // self.schema.rows_per_shard)

    @final
    def rows_of(self, shard: int) -> range:
        """The rows of one shard; `shards` makes a list of all."""
        start = shard * self.schema.rows_per_shard
        return range(start, min(start + self.schema.rows_per_shard, len(self)))

    @final
    def pending(self) -> list[range]:
        """The rows of every shard without a commit record, in order."""
        committed = self.committed()
        return [rows for shard, rows in enumerate(self.shards()) if shard not in committed]

    @final
    def records(self) -> Iterator[tuple[range, Record | None]]:
        """The rows and the commit record, or None, of every shard in order.

        Raises:
            DamageError: at a record that cannot be read.
        """
        for shard, record in self.records_of(range(self.shard_count)):
            if isinstance(record, DamageError):
                raise record
            yield self.rows_of(shard), record

    @final
    def records_of(self, shards: Iterable[int]) -> Iterator[tuple[int, Record | DamageError | None]]:
        """The number and the commit record of each of these shards, in their order.

        None where there is none; and where it cannot be read, the error that says so.
        """
        if not self._far:
            yield from ((shard, self._record_or_damage(shard)) for shard in shards)
            return
        with ThreadPoolExecutor(_AHEAD) as pool:
            asked: deque[tuple[int, Future[Record | DamageError | None]]] = deque()
            for shard in shards:
                if len(asked) == _AHEAD:
                    first, answer = asked.popleft()
                    yield first, answer.result()
                asked.append((shard, pool.submit(self._record_or_damage, shard)))
            yield from ((first, answer.result()) for first, answer in asked)

    def _record_or_damage(self, shard: int) -> Record | DamageError | None:
        try:
            return self.record(shard)
        except DamageError as error:
            return error

    def let_go(self, shard: int) -> None:  # noqa: B027 most backends hold nothing
        """Give back what is held for a shard that has been read and will not be read again soon."""

    @final
    def __getitem__(self, row: int) -> LabelMap:
        """The label of one row, [h, w, k]: quicker than a batch of one.

        Raises:
            NotLabelledError, DamageError, IndexError: as `read` does.
        """
        return coding.decode(self.fetch_one(*self._place(row)), self.schema)

    @final
    def read(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> LabelMap:
        """The labels of these rows, in this order, as a batch [n, h, w, k].

        Raises:
            NotLabelledError: a row's shard is not committed.
            DamageError: bytes are missing or fail their checksum.
            IndexError: there is no such row.
            TypeError: they are no integers.
        """
        if isinstance(rows, np.ndarray) and rows.dtype.kind not in "iu":
            raise TypeError(f"rows are integers, not {rows.dtype}")
        return coding.decode(self.fetch(self._places(rows)), self.schema)

    @final
    def write(
        self, rows: range, labels: LabelMap, *, reasons: Mapping[int, str] = {}, run: Mapping[str, Any] = {}
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
        self._check_shard(rows)
        self._check_labels(rows, labels)
        failures = _failures_of(rows, labels, reasons)
        shard = rows.start // self.schema.rows_per_shard
        return self.put(shard, coding.encode(labels, self.schema), failures=failures, run=run)

    @final
    def column(self, name: RowArray) -> NDArray[Any]:
        """One small array over all rows; rows that are not committed hold its fill value.

        Raises:
            DamageError: it is not what was written.
        """
        layout = next(layout for layout in coding.layouts(self.schema) if layout.name == name)
        values = np.full((len(self), *layout.row), layout.fill, layout.dtype)
        step = self.schema.rows_per_shard
        for shard in self.committed():
            values[shard * step : (shard + 1) * step] = self.fetch_rows(name, shard)
        return values

    def _places(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> list[tuple[int, int]]:
        # Plain Python: for the few rows of a batch it is faster than numpy.
        return [self._place(row) for row in (rows.tolist() if isinstance(rows, np.ndarray) else rows)]

    def _place(self, row: int) -> tuple[int, int]:
        if not 0 <= row < self.header.rows:
            raise IndexError(f"row {row} was asked of {self.address}, which has {self.header.rows}")
        shard, place = divmod(row, self.schema.rows_per_shard)
        if shard not in self._known and shard not in self._look_again():
            rows = self.rows_of(shard)
            raise NotLabelledError(
                f"rows {rows.start} to {rows.stop} of {self.address} have no labels yet; `annotate run` goes on with it"
            )
        return shard, place

    @cached_property
    def _key_index(self) -> KeyIndex:
        return self.load_key_index()

    def _not_what_was_written(self, what: str) -> DamageError:
        return DamageError(f"the {what} of {self.address} are not those that were written: their SHA-256 does not hold")

    def _look_again(self) -> frozenset[int]:
        self._known = self.committed()
        return self._known

    def _check_shard(self, rows: range) -> None:
        """Refuse rows that are not exactly one shard: writing across a boundary would lose a neighbour's work."""
        step = self.schema.rows_per_shard
        if not rows or rows.start % step or rows != range(rows.start, min(rows.start + step, len(self))):
            raise StoreError(
                f"cannot write rows {rows.start} to {rows.stop} of {self.address}: a shard is written whole, from "
                f"a multiple of {step} to {step} rows later or to row {len(self)}"
            )

    def _check_labels(self, rows: range, labels: LabelMap) -> None:
        """Refuse labels that do not fit the schema."""
        schema, shape = self.schema, (len(rows), *self.schema.grid, self.schema.k)
        expected = f"{schema.scores} labels, classes {schema.class_dtype} {shape}"
        found = f"{labels.kind} labels, classes {labels.classes.dtype} {labels.classes.shape}"
        if schema.scores == "logit":
            expected, found = f"{expected} as {schema.score_dtype}", f"{found} as {labels.scores.dtype}"
        if found != expected:
            raise StoreError(
                f"cannot write rows {rows.start} to {rows.stop} of {self.address}: it was given {found}, and holds "
                f"{expected}"
            )


def _failures_of(rows: range, labels: LabelMap, reasons: Mapping[int, str]) -> tuple[Failure, ...]:
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


def cannot_write(address: str, rows: range, why: str) -> StoreError:
    """The error of a storage that refuses, worded once."""
    return StoreError(
        f"cannot write rows {rows.start} to {rows.stop} of {address}: {why}. Nothing is lost: "
        "when the cause is mended, the same command goes on here."
    )


def refuse_differences(store: LabelStore, schema: Schema, keys: Sequence[str]) -> None:
    """Compare a store with what a run is about to write into it. Its keys are loaded only to say how they differ.

    Raises:
        MismatchError: naming each field that differs.
        StoreError: the keys are no keys.
    """
    header, differences = store.header, store.schema.differences(schema)
    if len(keys) != header.rows or hash_sound_keys(keys) != header.keys_sha256:
        differences += key_differences(store.keys, keys)
    if differences:
        raise MismatchError(store.address, differences)
