"""How are labels read and written by row, and rows found by key? Through a LabelStore, whatever its backend."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from storage.backend import Backend, RowArray
from storage.encoding import coded_labels as coding
from storage.encoding.sound_labels import decoded, encoded, refuse_column
from storage.errors import DamageError, KeyNotFoundError, StoreError, UnreadableError, gone, not_labelled
from storage.keys.key import why_unknown
from storage.labelmap import LabelMap
from storage.record import Failure, Record, check_run
from storage.status import Status

_AHEAD = 32  # commit records that are requested at the same time from a remote store


@final
class LabelStore:
    """Label maps by row, and rows by key.

    - Row i always belongs to the i-th key. Rows form shards of `schema.rows_per_shard`; the last may be shorter.
    - A shard is written whole, by one writer, any number of times with the same result. None of its rows can be read
      before it is committed. Different shards may be written at the same time by different processes.
    - A store is picklable: only its address travels. Reading is safe in forked and spawned processes.
    - A label whose checksum does not match is never returned: `DamageError` is raised.

    address: where the store is, as in errors
    header:  what was fixed when it was made
    schema:  what all its label maps share
    backend: reads and writes its bytes. Programs that train or label do not need it.
    """

    def __init__(self, backend: Backend) -> None:
        """Args: the backend of a store that exists. `open_store`, `create_store` and `find_store` choose it."""
        self.backend = backend
        self.address = backend.address
        self.header = backend.header
        self.schema = backend.schema

    def __reduce__(self) -> tuple[Any, ...]:
        """The backend travels, and of it only the address."""
        return LabelStore, (self.backend,)

    def __repr__(self) -> str:
        """Short, and without reading anything: the rows that are known to be committed so far."""
        rows, schema, (h, w) = len(self), self.schema, self.schema.grid
        seen = sum(len(self.rows_of(shard)) for shard in self.backend.seen_committed)
        written = f"at least {seen:,} of {rows:,} rows written" if 0 < seen < rows else f"{rows:,} rows"
        return f"LabelStore({self.address!r}, {written}, {h} x {w} x {schema.k} of {schema.class_count:,} classes)"

    @property
    def keys(self) -> Sequence[str]:
        """The key of every row. Their SHA-256 is checked once.

        Raises:
            DamageError: they are not what was written.
        """
        return self.backend.keys

    @property
    def targets(self) -> NDArray[np.int32]:
        """The dataset's own class of every row, int32 [rows], or -1. Their SHA-256 is checked once.

        Raises:
            DamageError: they are not what was written.
        """
        return self.backend.targets

    def find(self, key: str) -> int:
        """The row of a key, in microseconds.

        Raises:
            KeyNotFoundError: the store has no such key.
        """
        find = self.backend.key_index.find
        if (row := find(key)) is None:
            why = why_unknown(key, lambda other: find(other) is not None)
            raise KeyNotFoundError(f"the store {self.address} has no row for the key {why}")
        return row

    def __len__(self) -> int:
        """How many rows there are, labelled or not."""
        return self.header.rows

    def shards(self) -> list[range]:
        """The rows of each shard."""
        return self.header.shards()

    @property
    def shard_count(self) -> int:
        """How many shards there are."""
        return self.header.shard_count

    def rows_of(self, shard: int) -> range:
        """The rows of one shard; `shards` makes a list of all."""
        return self.header.rows_of(shard)

    def committed(self) -> frozenset[int]:
        """The numbers of the shards that have a commit record now."""
        return self.backend.committed()

    def pending(self) -> list[range]:
        """The rows of every shard without a commit record, in order."""
        committed = self.committed()
        return [self.rows_of(shard) for shard in range(self.shard_count) if shard not in committed]

    def record(self, shard: int) -> Record | None:
        """The commit record of a shard, or None if there is none yet.

        Raises:
            DamageError: there is one, but not one that was written for this shard.
            UnreadableError: it cannot be read, whatever it holds.
        """
        return self.backend.record(shard)

    def records(self) -> Iterator[tuple[range, Record | None]]:
        """The rows and the commit record, or None, of every shard in order.

        Raises:
            DamageError: at a record that is not what was written.
            UnreadableError: at a record that cannot be read.
        """
        committed = self.committed()  # one listing: a header may say that there are millions
        found = self.records_of(sorted(committed))
        for shard in range(self.shard_count):
            record = next(found)[1] if shard in committed else None
            if isinstance(record, DamageError | UnreadableError):
                raise record
            yield self.rows_of(shard), record

    def records_of(self, shards: Iterable[int]) -> Iterator[tuple[int, Record | DamageError | UnreadableError | None]]:
        """The number and the commit record of each of these shards, in their order.

        None if there is no record; the error if it cannot be read.
        """
        if not self.backend.remote:
            yield from ((shard, self._record_or_damage(shard)) for shard in shards)
            return
        with ThreadPoolExecutor(_AHEAD) as pool:
            asked: deque[tuple[int, Future[Record | DamageError | UnreadableError | None]]] = deque()
            for shard in shards:
                if len(asked) == _AHEAD:
                    first, answer = asked.popleft()
                    yield first, answer.result()
                asked.append((shard, pool.submit(self._record_or_damage, shard)))
            yield from ((first, answer.result()) for first, answer in asked)

    def _record_or_damage(self, shard: int) -> Record | DamageError | UnreadableError | None:
        try:
            return self.record(shard)
        except (DamageError, UnreadableError) as error:
            return error

    def __getitem__(self, row: int) -> LabelMap:
        """The label of one row, [h, w, k]: faster than a batch of one.

        Raises:
            NotLabelledError, DamageError, IndexError: as `read` does.
        """
        return decoded(self.backend.fetch_one(*self._position(row)), self.schema, [row], self.address)

    def read(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> LabelMap:
        """The labels of these rows, in this order, as a batch [n, h, w, k].

        Raises:
            NotLabelledError: a row's shard is not committed.
            DamageError: bytes are missing or do not match their checksum.
            IndexError: a row is out of range.
            TypeError: the rows are not integers.
        """
        if isinstance(rows, np.ndarray):
            if rows.dtype.kind not in "iu":
                raise TypeError(f"rows are integers, not {rows.dtype}")
            rows = rows.tolist()
        # Plain Python: for the few rows of a batch it is faster than numpy.
        return decoded(self.backend.fetch([*map(self._position, rows)]), self.schema, [*rows], self.address)

    def write(
        self, rows: range, labels: LabelMap, *, reasons: Mapping[int, str] = {}, run: Mapping[str, Any] = {}
    ) -> Record:
        """Write a whole shard, then its commit record.

        Args:
            rows: the rows of one shard.
            labels: one label for each row.
            reasons: why rows have no label, by row; every row that is not labelled needs one.
            run: what the record says about the run: attempt, seconds, worker.

        Raises:
            StoreError: the rows are not a shard, the labels do not fit the schema, or writing failed.
        """
        self._check_shard(rows)
        self._check_labels(rows, labels)
        failures = _failures_of(rows, labels, reasons)
        try:
            check_run(run)
        except ValueError as error:
            raise StoreError(
                f"cannot write rows {rows.start} to {rows.stop} of {self.address}: run: {error}"
            ) from error
        coded = encoded(labels, self.schema, rows, self.address)
        return put(self.backend, rows.start // self.schema.rows_per_shard, coded, failures=failures, run=run)

    def column(self, name: RowArray) -> NDArray[Any]:
        """One small array over all rows; rows that are not committed hold its fill value.

        Args:
            name: "boxes", float32 [rows, 4]; "sizes", uint32 [rows, 2]; or "status", uint8 [rows]: see `LabelMap`.

        Raises:
            DamageError: it is not what was written.
        """
        layout = next(layout for layout in coding.layouts(self.schema) if layout.name == name)
        values = np.full((len(self.targets), *layout.row), layout.fill, layout.dtype)  # the header may be forged
        for shard in self.committed():
            rows = self.rows_of(shard)
            values[rows.start : rows.stop] = self.backend.fetch_rows(name, shard)
        refuse_column(name, values, self.address)
        return values

    def _position(self, row: int) -> tuple[int, int]:
        """The number of a row's shard, and the row within it."""
        if not 0 <= row < self.header.rows:
            raise IndexError(
                f"cannot read row {row} of {self.address}: its {self.header.rows:,} rows are numbered from 0"
            )
        position = divmod(row, self.schema.rows_per_shard)
        if not self.backend.is_committed(position[0]):
            raise not_labelled(self.address, self.rows_of(position[0]))
        return position

    def _check_shard(self, rows: range) -> None:
        """Check that the rows are exactly one shard: writing across a boundary would lose a neighbour's work."""
        step = self.schema.rows_per_shard
        if not rows or rows.start % step or rows != range(rows.start, min(rows.start + step, len(self))):
            raise StoreError(
                f"cannot write rows {rows.start} to {rows.stop} of {self.address}: they are not one shard; a shard is "
                f"written whole, starts at a multiple of {step}, and has {step} rows or ends at row {len(self)}"
            )

    def _check_labels(self, rows: range, labels: LabelMap) -> None:
        """Check that the labels fit the schema."""
        schema, shape = self.schema, (len(rows), *self.schema.grid, self.schema.k)
        expected = f"{schema.scores} labels, classes {schema.class_dtype} {shape}"
        found = f"{labels.kind} labels, classes {labels.classes.dtype} {labels.classes.shape}"
        if schema.scores == "logit":
            expected, found = f"{expected} as {schema.score_dtype}", f"{found} as {labels.scores.dtype}"
        if found != expected:
            raise StoreError(
                f"cannot write rows {rows.start} to {rows.stop} of {self.address}: given {found}; the store holds "
                f"{expected}"
            )


def put(
    backend: Backend, shard: int, labels: coding.CodedLabels, *, failures: Sequence[Failure], run: Mapping[str, Any]
) -> Record:
    """Write the coded labels of one shard, if the store is there before and afterwards.

    Otherwise a shard that is written to an empty mount point would count.

    Raises:
        StoreError: the store is gone, or writing failed.
    """
    if not backend.is_there():
        raise gone(backend.address)
    record = backend.put(shard, labels, failures=failures, run=run)
    if not backend.is_there():
        raise gone(backend.address)
    return record


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
        raise StoreError(
            f"cannot write row {missing[0]}: it has no label, and no reason was given; give one in `reasons`"
        )
    return tuple(Failure(row=row, status=status, reason=reasons[row]) for row, status in unlabelled)
