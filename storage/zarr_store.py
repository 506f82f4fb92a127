"""How do label maps rest in Zarr v3? One group, eight arrays, one object a shard and array (docs/format.md)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from storage import scores
from storage.errors import DamageError, NotAStoreError, NotLabelledError, StoreError
from storage.labelmap import LabelMap, no_class
from storage.record import Record
from storage.schema import Schema
from storage.shard_reader import ShardReader
from storage.store import LabelStore, RowArray, failures_of, no_such_key, refuse_differences
from storage.zarr_layout import (
    LABEL_ARRAYS,
    RECORDS,
    ROW_ARRAYS,
    WRITE_FILL,
    hash_keys,
    hash_targets,
    lay_down,
    read_attributes,
)


@final
class ZarrStore(LabelStore):
    """Label maps in a local Zarr v3 group."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        """Open a store that is there.

        Raises:
            NotAStoreError: nothing is there, or something else.
            FormatError: it is of a format that this version does not read.
        """
        self.address = str(path)
        self._path = path
        self._writable = writable
        attributes = read_attributes(path)
        if attributes is None:
            raise NotAStoreError(f"there is no store at {path}; `annotate run IMAGES {path}` makes one")
        if attributes.get("creating"):
            raise NotAStoreError(f"the store {path} was not laid down to the end; run `annotate run` for it again")
        self.schema = Schema.from_json(attributes)
        self._group = zarr.open_group(LocalStore(path, read_only=not writable), mode="r+" if writable else "r")
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._committed: frozenset[int] = frozenset()

    def __reduce__(self) -> tuple[Any, ...]:
        """What travels to another process is the address: handles are opened there."""
        return _reopen, (self._path, self._writable)

    @cached_property
    def keys(self) -> Sequence[str]:
        """The key of every row. Their SHA-256 is checked once."""
        keys: list[str] = self._values("keys").tolist()
        if hash_keys(keys) != self._array("keys").attrs.get("sha256"):
            raise DamageError(
                f"the keys of {self.address} are not those that were written: their SHA-256 does not hold"
            )
        return keys

    @cached_property
    def _rows_by_key(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.keys)}

    def __len__(self) -> int:
        """How many rows there are."""
        return int(self._array("status").shape[0])

    def find(self, key: str) -> int:
        """The row of a key."""
        try:
            return self._rows_by_key[key]
        except KeyError:
            raise no_such_key(self.address, key) from None

    def record(self, shard: int) -> Record | None:
        """The commit record of a shard, or None."""
        text = str(self._values(RECORDS, shard))
        return Record.from_text(text) if text else None

    def pending(self) -> list[range]:
        """The rows of every shard without a commit record."""
        committed = self._list_committed()
        return [rows for shard, rows in enumerate(self.schema.shards(len(self))) if shard not in committed]

    def write(
        self, rows: range, labels: LabelMap, *, reasons: Mapping[int, str] | None = None, run: Mapping[str, Any] = {}
    ) -> Record:
        """Write one shard whole, then its commit record."""
        self.check_shard(rows)
        self.check_labels(rows, labels)
        shard = rows.start // self.schema.rows_per_shard
        failures = failures_of(rows, labels, reasons or {})
        codes = scores.encode(labels.scores)
        known = scores.decode(codes) > 0  # what rounds to nothing costs nothing and means nothing
        classes = np.where(known, labels.classes, labels.classes.dtype.type(no_class(labels.classes.dtype)))
        try:
            for name, values in (
                ("classes", classes),
                ("scores", codes),
                ("boxes", labels.boxes),
                ("sizes", labels.sizes),
                ("status", labels.status),
            ):
                self._replace(name, shard, rows, values)
            record = Record(
                start=rows.start,
                stop=rows.stop,
                labelled=len(rows) - len(failures),
                failures=failures,
                objects=self.checksums(rows),
                run=run,
            )
            self._array(RECORDS)[shard] = record.to_text()
            self._sweep(shard)
        except OSError as error:
            raise StoreError(
                f"cannot write rows {rows.start} to {rows.stop} of {self.address}: {error}. Nothing is lost: "
                "when the cause is mended, the same command goes on here."
            ) from error
        return record

    def read(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> LabelMap:
        """The labels of these rows, in this order."""
        wanted = np.asarray(rows, np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} were asked of {self.address}, it has {len(self)}")
        shards, places = np.divmod(wanted, self.schema.rows_per_shard)
        self._require_committed(shards)
        grid, k = self.schema.grid, self.schema.k
        classes = np.empty((len(wanted), *grid, k), self.schema.class_dtype)
        codes = np.empty((len(wanted), *grid, k), np.uint8)
        small = {name: np.empty((len(wanted), *self._readers[name][1]), self._readers[name][2]) for name in ROW_ARRAYS}
        for out, name in ((classes, "classes"), (codes, "scores")):
            reader = self._readers[name][0]
            for n, (shard, place) in enumerate(zip(shards.tolist(), places.tolist(), strict=True)):
                out[n] = reader.chunk(shard, place)[0]
        for shard in np.unique(shards).tolist():
            here = shards == shard
            for name, values in small.items():
                values[here] = self._readers[name][0].chunk(shard, 0)[places[here]]
        try:
            return LabelMap(classes, scores.decode(codes), small["boxes"], small["sizes"], small["status"])
        except ValueError as error:
            raise DamageError(f"rows of {self.address} are not label maps: {error}") from error

    def column(self, name: RowArray) -> NDArray[Any]:
        """One small array over all rows."""
        values = self._values(name)
        if name in ROW_ARRAYS:  # what a killed writer left in them is no label
            for rows in self.pending():
                values[rows.start : rows.stop] = self._array(name).fill_value
        elif hash_targets(values) != self._array(name).attrs.get("sha256"):
            raise DamageError(
                f"the targets of {self.address} are not those that were written: their SHA-256 does not hold"
            )
        return values

    def checksums(self, rows: range) -> dict[str, str]:
        """The SHA-256 of every object of this shard as it is now."""
        self.check_shard(rows)
        shard = rows.start // self.schema.rows_per_shard
        found = {}
        for name in (*LABEL_ARRAYS, *ROW_ARRAYS):
            key = self._object_key(name, shard)
            data = sync(self._group.store.get(key, default_buffer_prototype()))
            if data is not None:
                found[key] = hashlib.sha256(data.to_bytes()).hexdigest()
        return found

    @cached_property
    def _readers(self) -> dict[str, tuple[ShardReader, tuple[int, ...], np.dtype[Any]]]:
        """For each array its reader, the shape of a row, and the type."""
        readers = {}
        for name in (*LABEL_ARRAYS, *ROW_ARRAYS):
            array = self._array(name)
            reader = ShardReader(
                self._path / name,
                chunks_per_shard=array.shards[0] // array.chunks[0],
                chunk_shape=array.chunks,
                dtype=array.dtype,
            )
            readers[name] = reader, array.shape[1:], array.dtype
        return readers

    def _array(self, name: str) -> zarr.Array[Any]:
        """An array by name; its metadata are read once."""
        if name in self._arrays:
            return self._arrays[name]
        try:
            array = self._group[name]
        except Exception as error:  # whatever zarr makes of metadata that are none
            raise DamageError(f"the array {name} of {self.address} has no readable metadata: {error}") from error
        if not isinstance(array, zarr.Array):
            raise DamageError(f"{name} of {self.address} is not an array")
        self._arrays[name] = array
        return array

    def _values(self, name: str, place: slice | int = slice(None)) -> NDArray[Any]:
        """Values of an array through zarr-python."""
        array = self._array(name)
        try:
            values: NDArray[Any] = array[place]
        except Exception as error:  # a codec's own error, whatever its type: the bytes are not what was written
            what = f"{name} {place}" if isinstance(place, int) else name
            raise DamageError(f"{what} of {self.address} is damaged: {error}") from error
        return values

    def _object_key(self, name: str, shard: int) -> str:
        return "/".join([name, "c", str(shard), *["0"] * (self._array(name).ndim - 1)])

    def _list_committed(self) -> frozenset[int]:
        """The numbers of the shards that have a commit record: one listing, whatever their number."""

        async def names(listing: AsyncIterator[str]) -> list[str]:
            return [name async for name in listing]

        listed = sync(names(self._group.store.list_dir(f"{RECORDS}/c")))
        self._committed = frozenset(int(name) for name in listed if name.isdecimal())
        return self._committed

    def _require_committed(self, shards: NDArray[np.int64]) -> None:
        wanted = set(shards.tolist())
        if not wanted <= self._committed and (missing := wanted - self._list_committed()):
            rows = self.schema.shards(len(self))[min(missing)]
            raise NotLabelledError(
                f"rows {rows.start} to {rows.stop} of {self.address} have no labels yet; `annotate run` goes on with it"
            )

    def _replace(self, name: str, shard: int, rows: range, values: NDArray[Any]) -> None:
        array = self._array(name).with_config(WRITE_FILL)
        try:
            array[rows.start : rows.stop] = values
        except OSError:
            raise
        except Exception:  # zarr-python reads the object that it replaces; where that is damaged, it has to go first
            sync(self._group.store.delete(self._object_key(name, shard)))
            array[rows.start : rows.stop] = values

    def _sweep(self, shard: int) -> None:
        """Remove what writers of this shard that were killed left beside its objects."""
        for name in (*LABEL_ARRAYS, *ROW_ARRAYS, RECORDS):
            place = self._path / self._object_key(name, shard)
            for leftover in place.parent.glob(f"{place.name}.*.partial"):
                leftover.unlink(missing_ok=True)


def create(path: Path, schema: Schema, keys: Sequence[str], targets: Sequence[int] | None = None) -> ZarrStore:
    """Lay down all metadata of a store, or open the equal one that is there.

    Raises:
        MismatchError: another store of label maps is there.
        NotAStoreError: something else is there.
        StoreError: the keys are no keys, or the place is not writable.
    """
    try:
        store = find(path)
        if store is None:
            lay_down(path, schema, keys, targets)
            store = ZarrStore(path, writable=True)
    except OSError as error:
        raise StoreError(f"cannot write the store {path}: {error}") from error
    refuse_differences(store, schema, keys)
    return store


def find(path: Path) -> ZarrStore | None:
    """The store that is there, for writing, or None where a new one can be made: nothing, or one half laid down.

    Raises:
        NotAStoreError: something else is there.
    """
    attributes = read_attributes(path)
    if attributes is None:
        if path.is_dir() and any(path.iterdir()):
            raise NotAStoreError(f"{path} is not empty and not a store of label maps; give another address")
        return None
    return None if attributes.get("creating") else ZarrStore(path, writable=True)


def _reopen(path: Path, writable: bool) -> ZarrStore:
    return ZarrStore(path, writable=writable)
