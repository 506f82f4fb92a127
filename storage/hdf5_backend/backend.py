"""How are label maps stored in HDF5? One file a shard, and one that joins them for all readers (docs/format.md)."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.backend import MOST_BYTES, SET_ASIDE, Backend, RowArray
from storage.encoding.coded_labels import CodedLabels, layouts
from storage.errors import DamageError, StoreError, UnreadableError, cannot_write, no_store, too_large
from storage.files import contained
from storage.files.atomic_file import remove_leftovers_below, write_atomically
from storage.files.memory_map import MemoryMap
from storage.hdf5_backend.file import open_file
from storage.hdf5_backend.layout import (
    COLUMN_CHUNK,
    DIGESTS,
    HDF5_ERRORS,
    SHARDS,
    SLOTS,
    STORE,
    column,
    header_text,
    is_sealed,
    read_header,
    read_record,
    sha256_of,
    shard_file,
    shard_name,
    store_file,
    unreadable,
)
from storage.hdf5_backend.shards import ShardFiles
from storage.header import Header
from storage.keys import key_index
from storage.keys.key_index import Blocks, KeyIndex
from storage.record import Failure, Record

_SHARD = re.compile(r"[0-9]{6,9}\.h5")


@final
class Hdf5Backend(Backend):
    """Label maps in a local folder of HDF5 files. A shard's file is written atomically: once there, it is committed."""

    def __init__(self, address: str, *, writable: bool = False) -> None:
        """Open a store that exists.

        Raises:
            NotAStoreError: nothing exists there, or something that is not a store.
            FormatError: it has a format that this version does not read.
            DamageError: its header is not what was written.
        """
        self._folder = Path(address)
        header = read_header(self._folder, address)
        if header is None:
            raise no_store(address)
        super().__init__(address, header, writable=writable)
        self._files = ShardFiles(self._folder, header)

    def load_keys(self) -> Sequence[str]:
        """The keys as stored."""
        try:
            with self._store_file() as file:
                column = self._stored(file, "keys")
                parts = (
                    column[start : start + COLUMN_CHUNK].tolist() for start in range(0, self.header.rows, COLUMN_CHUNK)
                )
                return [key.decode() for part in parts for key in part]
        except HDF5_ERRORS as error:
            raise unreadable(f"the keys of {self.address}", error) from error

    def load_targets(self) -> NDArray[np.int32]:
        """The targets as stored."""
        return self._values("targets")

    def load_key_index(self) -> KeyIndex:
        """The key index, in the mapped file."""
        rows, path = self.header.rows, self._folder / STORE
        try:
            with self._store_file() as file:
                starts = [self._stored(file, name).id.get_offset() for name in (DIGESTS, SLOTS)]
            mapping = MemoryMap(path, reading=len)  # 2 ms for a million keys
            digests = _blocks(mapping, starts[0], rows, "Q")
            slots = _blocks(mapping, starts[1], key_index.slot_count(rows), "I")
        except HDF5_ERRORS as error:
            raise unreadable(f"the key index of {self.address}", error) from error
        return KeyIndex(digests, slots, rows=rows, salt=self.header.key_salt)

    def committed(self) -> frozenset[int]:
        """The numbers of the shards whose file is there: one listing, however many there are."""
        with self._reporting("list", "the shards", UnreadableError):
            there = contained.children(self._folder, SHARDS)
        found = ((int(name[:-3]), f"{SHARDS}/{name}") for name in there if _SHARD.fullmatch(name))
        return frozenset(n for n, name in found if n < self.header.shard_count and shard_name(n) == name)

    def written(self, shards: Collection[int]) -> dict[int, float]:
        """When the files of these shards were."""
        names = {Path(shard_name(shard)).name: shard for shard in shards}
        with self._reporting("list", "the shards", UnreadableError):
            found = contained.written_below(self._folder, SHARDS, names)
        return {names[name]: at for name, at in found.items()}

    def record(self, shard: int) -> Record | None:
        """The commit record of a shard, or None."""
        return read_record(self._folder, shard, self.header.rows_of(shard))

    def fetch(self, positions: Sequence[tuple[int, int]]) -> CodedLabels:
        """The labels at these positions, as stored."""
        return self._files.read(positions)

    def fetch_rows(self, name: RowArray, shard: int) -> NDArray[Any]:
        """One of the small arrays, for all rows of a committed shard."""
        return self._files.rows(name, shard)

    def put(
        self, shard: int, labels: CodedLabels, *, failures: Sequence[Failure] = (), run: Mapping[str, Any] = {}
    ) -> Record:
        """Write the labels of one shard as stored, and its commit record with them."""
        self.check_writable()
        rows, name = self.header.rows_of(shard), shard_name(shard)
        shapes = layouts(self.schema)
        arrays: list[NDArray[Any]] = [np.asarray(part) for part in labels]
        record = Record.of(
            rows,
            failures=failures,
            objects={f"{name}/{layout.name}": sha256_of(part) for layout, part in zip(shapes, arrays, strict=True)},
            run=run,
        )
        try:
            path = contained.to_change(self._folder, name)
            write_atomically(path, shard_file(self.schema, arrays, record.to_text()), below=self._folder)
        except OSError as error:
            raise cannot_write(self.address, rows, str(error)) from error
        self._files.release()
        return record

    def is_there(self) -> bool:
        """Whether the file that all shards share is there, and of this store."""
        with suppress(StoreError):
            found = read_header(self._folder, self.address)
            return found is not None and found.is_of_the_same_store(self.header)
        return False

    def shard_objects(self, shard: int) -> list[str]:
        """The name of the file of a shard, which holds its commit record too."""
        return [shard_name(shard)]

    def checksums(self, shard: int) -> dict[str, str]:
        """The SHA-256 of the values of every array of this shard as they are now."""
        return self.recorded(shard)[1]

    def recorded(self, shard: int) -> tuple[Record | None, dict[str, str]]:
        """The commit record of a shard, and the SHA-256 of the values of every array, all of one file."""
        return self._files.recorded(shard)

    def problems(self) -> Iterator[str]:
        """One sentence for each fault of the file that all shards share."""
        same = True
        for name, expected in zip((DIGESTS, SLOTS), self._index_of_keys(), strict=True):
            try:
                same &= np.array_equal(self._values(name), expected)
            except DamageError:
                same = False
        if not same:
            yield "the key index does not belong to the keys"
        with self._reporting("read", STORE, UnreadableError):
            sealed = is_sealed(contained.to_read(self._folder, STORE), self.header)
        if not sealed:
            yield f"{STORE} is not what was written: its SHA-256 does not match"

    def rebuild(self) -> None:
        """Write the file that all shards share again."""
        self.check_writable()
        self.write_object(STORE, store_file(self.header, self.keys, self.targets, self._index_of_keys()))
        self.__dict__.pop("key_index", None)

    def replace_header(self, header: Header) -> str:
        """Write the file that all shards share again, with another header."""
        self.check_writable()
        header.check_readable(header_text(header), self.address)
        self.write_object(STORE, store_file(header, self.keys, self.targets, self._index_of_keys()))
        self.header = header
        self.__dict__.pop("key_index", None)
        return STORE

    def object_names(self) -> Iterator[str]:
        """The names of all objects, sorted, without what killed writers left."""
        with self._reporting("list", "the objects", UnreadableError):
            return (name for name in contained.names(self._folder) if not name.startswith(f"{SET_ASIDE}/"))

    def owns(self, name: str) -> bool:
        """Whether it is one of the two kinds of files."""
        return name == STORE or (
            name.startswith(f"{SHARDS}/") and _SHARD.fullmatch(name[len(SHARDS) + 1 :]) is not None
        )

    def has_object(self, name: str) -> bool:
        """Whether there is an object of this name."""
        return os.path.lexists(self._folder / name)

    def move_object(self, name: str, to: str) -> None:
        """Give an object another name; nothing where there is none."""
        self.check_writable()
        with self._reporting("move", name):
            contained.move(self._folder, name, to)
        self._files.release()

    def read_object(self, name: str, *, most: int = MOST_BYTES) -> bytes | None:
        """The bytes of an object, or None."""
        with self._reporting("read", name, UnreadableError):
            try:
                path = contained.to_read(self._folder, name)
                if (size := path.stat().st_size) > most:
                    raise too_large(self.address, name, size, most)
                return path.read_bytes()
            except OSError as error:
                if contained.is_missing(error):
                    return None
                raise

    def write_object(self, name: str, data: bytes) -> None:
        """Write an object whole."""
        self.check_writable()
        with self._reporting("write", name):
            write_atomically(contained.to_change(self._folder, name), data, below=self._folder)
        self._files.release()

    def delete_object(self, name: str) -> None:
        """Remove an object, if it is there."""
        self.check_writable()
        with self._reporting("remove", name):
            contained.to_change(self._folder, name).unlink(missing_ok=True)
        self._files.release()

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of writers that were killed."""
        self.check_writable()
        with self._reporting("remove", "the unfinished files"):
            remove_leftovers_below(self._folder)

    def consolidate(self) -> None:
        """Do nothing: one file already has all that opening needs."""

    def _index_of_keys(self) -> Sequence[NDArray[Any]]:
        """The correct key index: digests and slots."""
        _, digests, slots = key_index.build(self.keys, salt=self.header.key_salt)
        return digests, slots

    def _values(self, name: str) -> NDArray[Any]:
        """Values of an array of the file that all shards share."""
        try:
            with self._store_file() as file:
                values: NDArray[Any] = self._stored(file, name)[()]
        except HDF5_ERRORS as error:
            raise unreadable(f"the {name} of {self.address}", error) from error
        return values

    def _store_file(self) -> h5py.File:
        return open_file(contained.to_read(self._folder, STORE))

    def _stored(self, file: h5py.File, name: str) -> h5py.Dataset:
        """An array of the file that all shards share.

        Raises:
            KeyError, ValueError: there is none, or it is not as it must be.
        """
        return column(file, name, self.header.rows)

    @contextmanager
    def _reporting(self, what: str, name: str, kind: type[StoreError] = StoreError) -> Iterator[None]:
        """Say what was being done when the system refused."""
        try:
            yield
        except (OSError, MemoryError) as error:
            raise kind(f"cannot {what} {name} of {self.address}: {error or repr(error)}") from error


def _blocks(mapping: MemoryMap, offset: int | None, count: int, letter: Literal["Q", "I"]) -> Blocks:
    """The blocks of an array of this many uint64 (Q) or uint32 (I) at this byte of a file.

    Raises:
        ValueError: the file ends before it does.
    """
    start = offset or 0  # HDF5 gives no offset for an array without entries
    end = start + count * np.dtype(letter).itemsize
    if end > len(mapping.data):
        raise ValueError(f"it ends at byte {end:,} of a file of {len(mapping.data):,}")
    view = mapping.data[start:end].cast(letter)
    return Blocks(
        [view[first : first + key_index.BLOCK_ENTRIES] for first in range(0, count, key_index.BLOCK_ENTRIES)], [mapping]
    )
