"""How are label maps stored in Zarr v3? One group, ten arrays, one object for each shard and array: docs/format.md."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.backend import MOST_BYTES, SET_ASIDE, Backend, RowArray
from storage.encoding.coded_labels import CodedLabels, layouts
from storage.errors import DamageError, NotAStoreError, StoreError, no_store, not_labelled
from storage.header import Header
from storage.keys import key_index
from storage.keys.key_index import Blocks, KeyIndex
from storage.record import Failure, Record, most_bytes
from storage.zarr_backend.bounded_codec import most_stored
from storage.zarr_backend.commit import check_still, commit
from storage.zarr_backend.digests import refuse_other, shard_digests
from storage.zarr_backend.layout import DIGESTS, RECORDS, ROOT, SLOTS, arrays, has_root_of, is_own, read_root
from storage.zarr_backend.metadata import consolidated_root, with_header, wrong_documents
from storage.zarr_backend.objects import Objects
from storage.zarr_backend.shard_reader import ShardReader, object_name, one_string
from storage.zarr_backend.shard_writer import shard_object


@final
class ZarrBackend(Backend):
    """Label maps in a Zarr v3 group: in a local folder, or in a bucket.

    Where their objects are in a folder, labels are read by `ShardReader`; all else goes through zarr-python.
    """

    def __init__(self, address: str, *, writable: bool = False) -> None:
        """Open a store that exists.

        Raises:
            NotAStoreError: nothing exists there, or something that is not a store.
            FormatError: it has a format that this version does not read.
            DamageError: its header is not what was written.
        """
        self._objects = Objects(address, writable=writable)
        found = read_root(self._objects)
        if found is None:
            raise no_store(address)
        header, creating = found
        if creating:
            raise NotAStoreError(f"the store {address} was not created completely; run `annotate run` for it again")
        super().__init__(address, header, writable=writable, remote=not self._objects.is_local)

    def load_keys(self) -> Sequence[str]:
        """The keys as stored."""
        keys: list[str] = self._column("keys").tolist()
        return keys

    def load_targets(self) -> NDArray[np.int32]:
        """The targets as stored."""
        return self._column("targets")

    def load_key_index(self) -> KeyIndex:
        """The key index: mapped from a local folder, or loaded from a bucket."""
        rows, salt = self.header.rows, self.header.key_salt
        if (folder := self._objects.folder) is None:
            digests, slots = Blocks.of(self._column(DIGESTS), "Q"), Blocks.of(self._column(SLOTS), "I")
        else:
            self._objects.fetch_below(f"{DIGESTS}/c", f"{SLOTS}/c")
            digests = Blocks.map(folder, f"{DIGESTS}/c", rows, "Q")
            slots = Blocks.map(folder, f"{SLOTS}/c", key_index.slot_count(rows), "I")
        return KeyIndex(digests, slots, rows=rows, salt=salt)

    def committed(self) -> frozenset[int]:
        """The numbers of the shards that have a commit record: one listing, however many there are."""
        found = self._objects.children(f"{RECORDS}/c")
        return frozenset(int(name) for name in found if _is_number(name) and int(name) < self.header.shard_count)

    def written(self, shards: Collection[int]) -> dict[int, float]:
        """When the records of these shards were: one listing, or what a folder says of each file."""
        found = self._objects.written_below(f"{RECORDS}/c", [str(shard) for shard in shards])
        return {int(name): at for name, at in found.items()}

    def record(self, shard: int) -> Record | None:
        """The commit record of a shard, or None."""
        rows, name = self.header.rows_of(shard), _record_name(shard)
        data = self._objects.get(name, most=most_bytes(len(rows)))
        if data is None:
            return None
        title, text = f"the commit record {name} of {self.address}", one_string(data)
        if text is None:
            raise DamageError(f"{title} fails its crc32c")
        record = Record.from_text(text, name=title, rows=rows)
        if record.objects.keys() != {*self._object_names(shard)}:
            raise DamageError(f"{title} names {', '.join(record.objects) or 'no objects'}, not those of shard {shard}")
        return record

    def fetch(self, positions: Sequence[tuple[int, int]]) -> CodedLabels:
        """The labels at these positions, as stored."""
        if (reader := self._reader) is not None:
            return reader.read(positions)
        for shard in {shard for shard, _ in positions}:
            self._refuse_other(shard)
        rows = np.array([shard * self.schema.rows_per_shard + row for shard, row in positions], np.int64)
        return CodedLabels(*[self._values(layout.name, rows) for layout in layouts(self.schema)])

    def fetch_one(self, shard: int, row: int) -> CodedLabels:
        """The label at one position, as stored."""
        return super().fetch_one(shard, row) if self._reader is None else self._reader.one(shard, row)

    def fetch_rows(self, name: RowArray, shard: int) -> NDArray[Any]:
        """One of the small arrays, for all rows of a committed shard."""
        rows = self.header.rows_of(shard)
        if (reader := self._reader) is not None:
            return reader.rows(name, shard)[: len(rows)]
        self._refuse_other(shard)
        return self._values(name, slice(rows.start, rows.stop))

    def put(
        self, shard: int, labels: CodedLabels, *, failures: Sequence[Failure] = (), run: Mapping[str, Any] = {}
    ) -> Record:
        """Write the labels of one shard as stored, then its commit record."""
        self.check_writable()
        self._objects.refuse_after_fork()
        rows = self.header.rows_of(shard)
        parts = {
            object_name(layout, shard): shard_object(layout, getattr(labels, layout.name), self.schema.rows_per_shard)
            for layout in layouts(self.schema)
        }
        record = Record.of(
            rows,
            failures=failures,
            objects={name: hashlib.sha256(data).hexdigest() for name, data in parts.items()},
            run=run,
        )
        try:
            return commit(self._objects, _record_name(shard), parts, record, lambda: self._confirmed(shard))
        finally:
            self.release(shard)

    def is_there(self) -> bool:
        """Whether the root's metadata are there, and of this store. A mirror's are."""
        return self._objects.mirror is not None or has_root_of(self.header, self._objects)

    def _confirmed(self, shard: int) -> Record | None:
        """The record of a shard, if its objects are those that it names."""
        record = self.record(shard)
        return record if record is not None and record.objects == self.checksums(shard) else None

    def release(self, shard: int) -> None:
        """Unmap the objects of a shard."""
        if (reader := self._reader) is not None:
            reader.release(shard)

    def shard_objects(self, shard: int) -> list[str]:
        """The names of the objects of a shard, that of its commit record first."""
        return [_record_name(shard), *self._object_names(shard)]

    def checksums(self, shard: int) -> dict[str, str]:
        """The SHA-256 of every object of this shard as it is now."""
        return shard_digests(self._objects, self.schema, shard)

    def problems(self) -> Iterator[str]:
        """What is wrong with the metadata and with the key index."""
        wrong = wrong_documents(self.header, self._objects)
        yield from (f"{name} is not what follows from the header" for name in wrong)
        if not self._index_is_right():
            yield "the key index does not belong to the keys"

    def rebuild(self) -> None:
        """Write metadata and key index again, where they are wrong."""
        self.check_writable()
        for name, data in wrong_documents(self.header, self._objects).items():
            self._objects.set(name, data)
        if not self._index_is_right():
            self._write_index()
            self.__dict__.pop("key_index", None)

    def replace_header(self, header: Header) -> str:
        """Put another header into the root's metadata; what else is there stays."""
        data = with_header(header, self._objects)
        header.check_readable(data, self.address)
        self.write_object(ROOT, data)
        self.header = header
        return ROOT

    def object_names(self) -> Iterator[str]:
        """The names of all objects, sorted."""
        return (name for name in self._objects.names() if not name.startswith(f"{SET_ASIDE}/"))

    def owns(self, name: str) -> bool:
        """Whether it is that of metadata or of a chunk."""
        return is_own(name, self._arrays)

    def has_object(self, name: str) -> bool:
        """Whether there is an object of this name."""
        return self._objects.has(name)

    def move_object(self, name: str, to: str) -> None:
        """Give an object another name; nothing where there is none."""
        self.check_writable()
        self._objects.move(name, to)

    def read_object(self, name: str, *, most: int = MOST_BYTES) -> bytes | None:
        """The bytes of an object, or None."""
        return self._objects.get(name, most=most)

    def write_object(self, name: str, data: bytes) -> None:
        """Write an object whole."""
        self.check_writable()
        self._objects.set(name, data)

    def delete_object(self, name: str) -> None:
        """Remove an object, if it is there."""
        self.check_writable()
        self._objects.delete(name)

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of writers that were killed."""
        self.check_writable()
        self._objects.remove_leftovers()

    def consolidate(self) -> None:
        """Put a copy of all metadata into the root, so that others open the store with one request."""
        data = consolidated_root(self.header, self._objects)
        self.header.check_readable(data, self.address)
        self.write_object(ROOT, data)

    def _index_is_right(self) -> bool:
        _, digests, slots = key_index.build(self.keys, salt=self.header.key_salt)
        try:
            return (self._column(DIGESTS) == digests).all() and (self._column(SLOTS) == slots).all()
        except DamageError:
            return False

    @cached_property
    def _arrays(self) -> dict[str, zarr.Array[Any]]:
        return arrays(self.header, self._objects.zarr)

    @cached_property
    def _reader(self) -> ShardReader | None:
        """The reader of labels in a local folder, or in that where the objects of a remote store are kept."""
        objects = self._objects
        folder = objects.folder if objects.kept is None else objects.kept.folder
        return None if folder is None else ShardReader(folder, self.schema, self._recorded, objects.kept)

    def _column(self, name: str) -> NDArray[Any]:
        """All values of an array that is not of shards. Missing chunks would be as much fill as the header says."""
        array = self._arrays[name]
        self._objects.check_column(name, -(-array.shape[0] // array.chunks[0]), most_stored(array.metadata))
        return self._values(name)

    def _values(self, name: str, where: slice | NDArray[np.int64] = slice(None)) -> NDArray[Any]:
        """Values of an array through zarr-python."""
        try:
            with self._objects.explaining_errors("read", name):
                values: NDArray[Any] = self._arrays[name].oindex[where]
        except StoreError:
            raise
        except Exception as error:  # codecs raise errors of many types: the bytes are not what was written
            raise DamageError(f"{name} of {self.address} is damaged: {error}") from error
        return values

    def _object_names(self, shard: int) -> list[str]:
        return [object_name(layout, shard) for layout in layouts(self.schema)]

    def _recorded(self, shard: int) -> Mapping[str, str]:
        """The SHA-256 of the objects of a shard, by its commit record."""
        record = self.record(shard)
        if record is None:  # it was there when the shard was found committed: now a writer replaces it
            raise not_labelled(self.address, self.header.rows_of(shard))
        return record.objects

    @cached_property
    def _whole(self) -> set[int]:
        """Shards in a bucket whose objects are those of their record. zarr-python reads a missing one as fill."""
        return set()

    def _refuse_other(self, shard: int) -> None:
        """Compare the objects of a shard in a bucket with its commit record, once in this process."""
        if shard not in self._whole:
            check_still(lambda: self._recorded(shard), lambda it: refuse_other(it, self.checksums(shard), self.address))
            self._whole.add(shard)

    def _write_index(self) -> None:
        _, digests, slots = key_index.build(self.keys, salt=self.header.key_salt)
        for name, values in ((DIGESTS, digests), (SLOTS, slots)):
            for child in filter(_is_number, self._objects.children(f"{name}/c")):
                self._objects.delete(f"{name}/c/{child}")  # otherwise zarr-python would read what it replaces
            with self._objects.explaining_errors("write", name):
                self._arrays[name][:] = values


def _record_name(shard: int) -> str:
    return f"{RECORDS}/c/{shard}"


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and name == str(int(name))
