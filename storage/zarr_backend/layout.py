"""Which arrays does a Zarr store consist of? All their metadata follow from the header (docs/format.md)."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.array import AsyncArray
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath

from storage.encoding import scores
from storage.encoding.coded_labels import layouts
from storage.errors import DamageError, StoreError, UnreadableError, a_file, another
from storage.header import ATTRIBUTE, SEAL, Header, seal_of
from storage.json_fields import MOST_BYTES, parsed
from storage.keys.key_index import BLOCK_ENTRIES, EMPTY, slot_count
from storage.zarr_backend.bounded_codec import bounded
from storage.zarr_backend.objects import Objects

ROOT = "zarr.json"
CREATING = "tokenlabel:creating"  # present until everything is written
RECORDS = "shards/record"
DIGESTS, SLOTS = "key_index/digests", "key_index/slots"
CONVENTION = {
    "uuid": "6a7d0c4e-3f0b-4f0e-9d52-7d2c9f1f5c11",
    "name": "tokenlabel",
    "description": "Dense top-k label maps of pictures, one row a picture, for training vision models",
}
# By default Zarr does not write chunks that hold only fill; but a commit record promises that all exist.
WRITE_FILL: Any = {"write_empty_chunks": True}
COLUMN_CHUNK = 65_536
_CHUNK = re.compile(r"(.+)/c(?:/[0-9]+)+")
_PACKED = [ZstdCodec(level=9, checksum=True)]  # above level 9, reading is slower
_PLAIN = [Crc32cCodec()]  # mapped and read without a copy


def root_document(header: Header, *, creating: bool = False) -> dict[str, Any]:
    """The root group's zarr.json."""
    values = header.to_json()
    attributes = {"zarr_conventions": [CONVENTION], ATTRIBUTE: values, SEAL: seal_of(values)}
    return {
        "attributes": {**attributes, **({CREATING: True} if creating else {})},
        "zarr_format": 3,
        "node_type": "group",
    }


def as_text(document: Mapping[str, Any]) -> bytes:
    """A document as stored."""
    return json.dumps(document, indent=2).encode()


def read_root(objects: Objects) -> tuple[Header, bool] | None:
    """The header at this address and whether the store is still being created; None if nothing exists there.

    Raises:
        NotAStoreError: something exists there that is not a store of label maps.
        FormatError: it has a format that this version does not read.
        DamageError: its header is not what was written.
    """
    data = objects.get(ROOT, most=MOST_BYTES)
    if data is None:
        if objects.folder is not None and objects.folder.exists() and not objects.folder.is_dir():
            raise a_file(objects.address)
        if objects.has(f"{RECORDS}/{ROOT}"):
            raise DamageError(f"the header of the store {objects.address} is gone: it has no {ROOT}")
        return None
    try:
        attributes = parsed(data)["attributes"]
        values = attributes[ATTRIBUTE]
        values["format"]
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        if objects.has(f"{RECORDS}/{ROOT}"):
            raise DamageError(f"the header of the store {objects.address} is damaged: {error!r}") from error
        raise another(objects.address, ROOT) from error
    return Header.from_json(values, attributes.get(SEAL), objects.address), bool(attributes.get(CREATING))


def has_root_of(header: Header, objects: Objects) -> bool:
    """Whether the store of this header is there. Where a bucket's request fails, yes: the next one says what fails."""
    try:
        found = read_root(objects)
    except StoreError as error:
        return objects.folder is None and isinstance(error, UnreadableError)
    return found is not None and found[0].is_of_the_same_store(header)


def documents(header: Header) -> dict[str, bytes]:
    """The zarr.json of every array and group below the root, by its name."""
    memory, _ = _describe(header)
    return {name: data.to_bytes() for name, data in memory._store_dict.items() if name != ROOT}


def is_own(name: str, arrays: Collection[str]) -> bool:
    """Whether an object of a store with these arrays can have this name: metadata, or a chunk of any number."""
    if (chunk := _CHUNK.fullmatch(name)) is not None:
        return chunk[1] in arrays
    described = {ROOT, *(f"{each}/{ROOT}" for array in arrays for each in (array, array.partition("/")[0]))}
    return name in described


def same_document(found: Any, expected: Mapping[str, Any]) -> bool:
    """Whether the metadata of an array or a group mean the same, also as another version of Zarr writes them.

    Attributes that others have added do not matter.
    """
    if not isinstance(found, dict) or any(found.get(name) != expected[name] for name in ("node_type", "zarr_format")):
        return False
    attributes = found.get("attributes") or {}
    if not isinstance(attributes, dict):
        return False
    if any(attributes.get(name) != value for name, value in expected["attributes"].items()):
        return False
    return expected["node_type"] == "group" or _meaning(found) == _meaning(expected)


def same_root(found: Any, expected: Mapping[str, Any]) -> bool:
    """Whether the root names our convention, and its copies of metadata, if there are any, are those of the arrays.

    Its header was compared with its seal when the store was opened.
    """
    if not isinstance(found, dict) or any(found.get(name) != expected[name] for name in ("node_type", "zarr_format")):
        return False
    conventions = found["attributes"].get("zarr_conventions")
    if not isinstance(conventions, list) or CONVENTION["uuid"] not in [
        convention.get("uuid") for convention in conventions if isinstance(convention, dict)
    ]:
        return False
    if (consolidated := expected.get("consolidated_metadata")) is None:
        return True
    copies = (
        found["consolidated_metadata"].get("metadata") if isinstance(found["consolidated_metadata"], dict) else None
    )
    return isinstance(copies, dict) and all(
        same_document(copies.get(name), document) for name, document in consolidated["metadata"].items()
    )


def _meaning(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """An array's metadata as zarr-python understands them, or None where it does not."""
    try:
        return ArrayV3Metadata.from_dict({**copy.deepcopy(dict(document)), "attributes": {}}).to_dict()
    except Exception:  # zarr raises errors of many types for invalid metadata
        return None


def arrays(header: Header, store: Store) -> dict[str, zarr.Array[Any]]:
    """Every array of a store with this header, by its path. The store's own metadata are not read."""
    _, described = _describe(header)
    return {
        name: zarr.Array(AsyncArray(bounded(array.metadata), StorePath(store, name), config=WRITE_FILL))
        for name, array in described.items()
    }


def _describe(header: Header) -> tuple[MemoryStore, dict[str, zarr.Array[Any]]]:
    """All metadata, made by zarr-python itself, in memory."""
    memory = MemoryStore()
    group = zarr.create_group(memory)
    schema, shard = header.schema, header.schema.rows_per_shard
    found: dict[str, zarr.Array[Any]] = {}
    for layout in layouts(schema):
        maps: dict[str, Any] = {"chunks": (1, *layout.row), "shards": (shard, *layout.row), "compressors": _PACKED}
        plain: dict[str, Any] = {"chunks": (shard, *layout.row), "compressors": _PLAIN}
        found[layout.name] = group.create_array(
            layout.name,
            shape=(header.rows, *layout.row),
            dtype=layout.dtype,
            fill_value=layout.fill,
            dimension_names=("image", *layout.dimensions),
            attributes={"encoding": scores.ENCODING}
            if layout.name == "scores" and schema.scores == "probability"
            else {},
            **(maps if layout.is_map else plain),
        )
    slots = slot_count(header.rows)
    columns: tuple[tuple[str, str, int, int, Any, Any, Any], ...] = (
        ("keys", "image", header.rows, COLUMN_CHUNK, str, "", _PACKED),
        ("targets", "image", header.rows, COLUMN_CHUNK, np.int32, -1, _PACKED),
        (DIGESTS, "image", header.rows, BLOCK_ENTRIES, np.uint64, 0, _PLAIN),
        (SLOTS, "slot", slots, BLOCK_ENTRIES, np.uint32, EMPTY, _PLAIN),
        (RECORDS, "shard", header.shard_count, 1, str, "", _PLAIN),
    )
    for name, dimension, count, chunk, dtype, fill, compressors in columns:
        found[name] = group.create_array(
            name,
            shape=(count,),
            chunks=(max(1, min(chunk, count)),),
            dtype=dtype,
            fill_value=fill,
            dimension_names=(dimension,),
            compressors=compressors,
        )
    return memory, found
