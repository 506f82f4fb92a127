"""How are label maps stored in Zarr v3? One group, ten arrays, one object a shard and array (docs/format.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.backend import Backend, RowArray
from storage.encoding.coded_labels import CodedLabels, layouts
from storage.errors import DamageError, NotAStoreError, StoreError, cannot_write, no_store
from storage.keys import key_index
from storage.keys.key_index import Blocks, KeyIndex
from storage.record import Failure, Record
from storage.zarr_backend.commit import commit
from storage.zarr_backend.layout import (
    CREATING,
    DIGESTS,
    RECORDS,
    ROOT,
    SLOTS,
    arrays,
    as_text,
    documents,
    read_root,
    root_document,
    same_document,
    same_root,
)
from storage.zarr_backend.objects import Objects, in_short
from storage.zarr_backend.shard_reader import ShardReader, has_length, object_name, one_string
from storage.zarr_backend.shard_writer import shard_object


@final
class ZarrBackend(Backend):
    """Label maps in a Zarr v3 group: in a local folder, or in a bucket.

    In a local folder, labels are read by `ShardReader`; everything else goes through zarr-python.
    """

    def __init__(self, address: str, *, writable: bool = False) -> None:
        """Open a store that exists.

        Raises:
            NotAStoreError: nothing exists there, or something else.
            FormatError: it is of a format that this version does not read.
            DamageError: its header is not what was written.
        """
        self._objects = Objects(address, writable=writable)
        found = read_root(self._objects)
        if found is None:
            raise no_store(address)
        header, creating = found
        if creating:
            raise NotAStoreError(f"the store {address} was not created completely; run `annotate run` for it again")
        super().__init__(address, header, writable=writable, remote=self._objects.folder is None)

    def load_keys(self) -> Sequence[str]:
        """The keys as stored."""
        keys: list[str] = self._values("keys").tolist()
        return keys

    def load_targets(self) -> NDArray[np.int32]:
        """The targets as stored."""
        return self._values("targets")

    def load_key_index(self) -> KeyIndex:
        """The key index: mapped from a local folder, or loaded from a bucket."""
        rows, salt = self.header.rows, self.header.key_salt
        if (folder := self._objects.folder) is None:
            digests, slots = Blocks.of(self._values(DIGESTS), "Q"), Blocks.of(self._values(SLOTS), "I")
        else:
            digests = Blocks.map(folder / DIGESTS / "c", rows, "Q")
            slots = Blocks.map(folder / SLOTS / "c", key_index.slot_count(rows), "I")
        return KeyIndex(digests, slots, rows=rows, salt=salt)

    def committed(self) -> frozenset[int]:
        """The numbers of the shards that have a commit record: one listing, however many there are."""
        count = self.header.shard_count
        found = self._objects.children(f"{RECORDS}/c")
        return frozenset(int(name) for name in found if _is_number(name) and int(name) < count)

    def record(self, shard: int) -> Record | None:
        """The commit record of a shard, or None."""
        data = self._objects.get(f"{RECORDS}/c/{shard}")
        if data is None:
            return None
        text = one_string(data)
        if text is None:
            raise DamageError(f"the commit record {RECORDS}/c/{shard} of {self.address} fails its crc32c")
        return Record.from_text(text)

    def fetch(self, positions: Sequence[tuple[int, int]]) -> CodedLabels:
        """The labels at these positions, as stored."""
        if (reader := self._reader) is not None:
            return reader.read(positions)
        for shard in {shard for shard, _ in positions} - self._whole:
            self._refuse_missing(shard)
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
        self._refuse_missing(shard)
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
        record = Record(
            start=rows.start,
            stop=rows.stop,
            labelled=len(rows) - len(failures),
            failures=tuple(failures),
            objects={name: hashlib.sha256(data).hexdigest() for name, data in parts.items()},
            run=run,
        )
        try:
            return commit(self._objects, f"{RECORDS}/c/{shard}", parts, record, lambda: self.record(shard))
        except StoreError as error:
            raise cannot_write(self.address, rows, in_short(error.__cause__ or error)) from error
        finally:
            self.release(shard)

    def release(self, shard: int) -> None:
        """Unmap the objects of a shard."""
        if (reader := self._reader) is not None:
            reader.forget(shard)

    def forget(self, shard: int) -> None:
        """Remove the commit record of a shard: it is pending again."""
        self.check_writable()
        self._objects.delete(f"{RECORDS}/c/{shard}")
        self._committed = frozenset()

    def checksums(self, shard: int) -> dict[str, str]:
        """The SHA-256 of every object of this shard as it is now."""
        found = ((name, self._objects.sha256(name)) for name in self._object_names(shard))
        return {name: digest for name, digest in found if digest is not None}

    def problems(self) -> Iterator[str]:
        """What is wrong with the metadata and with the key index."""
        yield from (f"{name} is not what follows from the header" for name in self._wrong_documents())
        if not self._index_is_right():
            yield "the key index is not that of the keys"

    def rebuild(self) -> None:
        """Write metadata and key index again, where they are wrong."""
        self.check_writable()
        for name, data in self._wrong_documents().items():
            self._objects.set(name, data)
        if not self._index_is_right():
            self._write_index()
            self.__dict__.pop("key_index", None)

    def object_names(self) -> Iterator[str]:
        """The names of all objects, sorted."""
        return iter(self._objects.names())

    def read_object(self, name: str) -> bytes | None:
        """The bytes of an object, or None."""
        return self._objects.get(name)

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
        root = {**root_document(self.header), "consolidated_metadata": self._consolidated()}
        self.write_object(ROOT, as_text(_with_attributes_of(_json(self._objects.get(ROOT)), root)))

    def _consolidated(self) -> dict[str, Any]:
        metadata = {name.removesuffix(f"/{ROOT}"): json.loads(data) for name, data in sorted(self._documents.items())}
        return {"kind": "inline", "must_understand": False, "metadata": metadata}

    def _wrong_documents(self) -> dict[str, bytes]:
        """What should replace each piece of metadata that means something else."""
        root, found = root_document(self.header), _json(self._objects.get(ROOT))
        consolidated = found.get("consolidated_metadata") if isinstance(found, dict) else None
        if consolidated is not None:
            root["consolidated_metadata"] = self._consolidated()
        wrong = {}
        if not same_root(found, root):
            wrong[ROOT] = as_text(_with_attributes_of(found, root))
        for name, data in self._documents.items():
            if not same_document(_json(self._objects.get(name)), json.loads(data)):
                wrong[name] = data
        return wrong

    def _index_is_right(self) -> bool:
        _, digests, slots = key_index.build(self.keys, salt=self.header.key_salt)
        try:
            return (self._values(DIGESTS) == digests).all() and (self._values(SLOTS) == slots).all()
        except DamageError:
            return False

    @cached_property
    def _documents(self) -> dict[str, bytes]:
        return documents(self.header)

    @cached_property
    def _arrays(self) -> dict[str, zarr.Array[Any]]:
        return arrays(self.header, self._objects.zarr)

    @cached_property
    def _reader(self) -> ShardReader | None:
        """The reader of labels in a local folder."""
        folder = self._objects.folder
        return None if folder is None else ShardReader(folder, self.schema)

    def _values(self, name: str, where: slice | NDArray[np.int64] = slice(None)) -> NDArray[Any]:
        """Values of an array through zarr-python."""
        try:
            with self._objects.reporting("read", name):
                values: NDArray[Any] = self._arrays[name].oindex[where]
        except StoreError:
            raise
        except Exception as error:  # a codec's own error, whatever its type: the bytes are not what was written
            raise DamageError(f"{name} of {self.address} is damaged: {error}") from error
        return values

    def _object_names(self, shard: int) -> list[str]:
        return [object_name(layout, shard) for layout in layouts(self.schema)]

    @cached_property
    def _whole(self) -> set[int]:
        """Shards in a bucket whose objects are whole. zarr-python reads a missing or empty one as fill values."""
        return set()

    def _refuse_missing(self, shard: int) -> None:
        for layout in layouts(self.schema):
            name = object_name(layout, shard)
            size = self._objects.size(name)
            if size is None or not has_length(layout, self.schema.rows_per_shard, size):
                what = "is missing" if size is None else f"is truncated: it has {size} bytes"
                raise DamageError(f"{name} of {self.address} {what}; `annotate verify` lists all damage")
        self._whole.add(shard)

    def _write_index(self) -> None:
        _, digests, slots = key_index.build(self.keys, salt=self.header.key_salt)
        for name, values in ((DIGESTS, digests), (SLOTS, slots)):
            for child in self._objects.children(f"{name}/c"):
                self._objects.delete(f"{name}/c/{child}")  # zarr-python would read what it replaces
            self._arrays[name][:] = values


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and name == str(int(name))


def _with_attributes_of(found: Any, root: dict[str, Any]) -> dict[str, Any]:
    """The root, with the attributes that others have added to ours."""
    others = found.get("attributes") if isinstance(found, dict) else None
    kept = {name: value for name, value in (others if isinstance(others, dict) else {}).items() if name != CREATING}
    return {**root, "attributes": {**kept, **root["attributes"]}}


def _json(data: bytes | None) -> Any:
    try:
        return None if data is None else json.loads(data)
    except ValueError:
        return None
