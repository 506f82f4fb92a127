"""Which files does an HDF5 store consist of, and what is in each of them? (docs/format.md)

    labels.h5/store.h5           header, keys, targets, key index, and five virtual arrays that join the shards
    labels.h5/shards/000000.h5   the five arrays of one shard, and its commit record

A file is built in memory and written atomically. Since version 1.10 of the file format, HDF5 keeps and verifies
checksums of its own metadata; a later version would only exclude older readers. All HDF5 libraries have its filters.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.encoding import scores
from storage.encoding.coded_labels import layouts
from storage.errors import DamageError, StoreError, a_file, another
from storage.hdf5_backend.file import open_file
from storage.header import ATTRIBUTE, SEAL, Header, seal_of
from storage.keys.key import blocks
from storage.schema import Schema

STORE, SHARDS = "store.h5", "shards"
DIGESTS, SLOTS = "key_index/digests", "key_index/slots"
RECORD, RECORD_SEAL = "record", "record_sha256"
# What h5py raises for a file that is missing or damaged: it has no separate type for HDF5's errors.
HDF5_ERRORS = (OSError, KeyError, ValueError, RuntimeError)
COLUMN_CHUNK = 4096  # rows of keys and targets that are packed together
_FORMAT = ("v110", "v110")  # version 1.10 is the oldest library that must read the files
_PACKED: dict[str, Any] = {"shuffle": True, "compression": "gzip", "compression_opts": 4}
_SEAL_BYTES = 64


def shard_name(shard: int) -> str:
    """The name of a shard's file in the store."""
    return f"{SHARDS}/{shard:06d}.h5"


def store_file(header: Header, keys: Sequence[str], targets: NDArray[np.int32], index: Sequence[NDArray[Any]]) -> bytes:
    """The bytes of `STORE`; `index` is digests and slots.

    The file ends with the SHA-256, in hexadecimal, of what is before it, which HDF5 ignores. HDF5 has no checksum
    for the names of the files that virtual arrays join.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=_FORMAT) as file:
        values = header.to_json()
        file.attrs[ATTRIBUTE] = np.bytes_(json.dumps(values))
        file.attrs[SEAL] = np.bytes_(seal_of(values))
        _column(file, "targets", header.rows, "<i4")[:] = targets
        # Strings of one length, padded with zeros: HDF5 does not checksum or compress strings of variable length,
        # and may hang when it reads damaged ones.
        longest = max((len(key.encode()) for block in blocks(keys) for key in block), default=1)
        text = h5py.string_dtype(length=longest)
        column = _column(file, "keys", header.rows, text)
        for number, block in enumerate(blocks(keys, COLUMN_CHUNK)):
            start = number * COLUMN_CHUNK
            column[start : start + len(block)] = np.array(list(map(str.encode, block)), text)
        for name, array, dtype in zip((DIGESTS, SLOTS), index, ("<u8", "<u4"), strict=True):
            file.create_dataset(name, data=array, dtype=dtype)  # contiguous: it is mapped
        _join(file, header)
    return buffer.getvalue() + hashlib.sha256(buffer.getbuffer()).hexdigest().encode()


def shard_file(schema: Schema, arrays: Sequence[NDArray[Any]], record: str) -> bytes:
    """The bytes of a shard's file: its five arrays, and the text of its commit record."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=_FORMAT) as file:
        for layout, values in zip(layouts(schema), arrays, strict=True):
            file.create_dataset(
                layout.name,
                data=values,
                dtype=_little(layout.dtype),
                chunks=(1, *layout.row) if layout.is_map else values.shape,
                fletcher32=True,
                **(_PACKED if layout.is_map else {}),
            )
        file.attrs[RECORD] = np.bytes_(record)
        # HDF5's own checksums leave out attributes above 64 KiB.
        file.attrs[RECORD_SEAL] = np.bytes_(hashlib.sha256(record.encode()).hexdigest())
    return buffer.getvalue()


def read_header(folder: Path, address: str) -> Header | None:
    """The header of the store in this folder; None if there is no file.

    Raises:
        NotAStoreError: something exists there that is not a store of label maps.
        FormatError: it has a format that this version does not read.
        DamageError: its header is not what was written.
        StoreError: it cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise a_file(address)
    has_shards = (folder / SHARDS).is_dir()  # checked first, because it is created after the file
    try:
        with open_file(folder / STORE) as file:
            values, seal = json.loads(file.attrs[ATTRIBUTE]), file.attrs.get(SEAL, b"").decode()
        values["format"]
    except (FileNotFoundError, NotADirectoryError):
        if has_shards:
            raise DamageError(f"the header of the store {address} is gone: it has no {STORE}") from None
        return None
    except (*HDF5_ERRORS, AttributeError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of HDF5
            raise StoreError(f"cannot read the store {address}: {error}") from error
        if has_shards:
            raise DamageError(f"the header of the store {address} is damaged: {error!r}") from error
        raise another(address, STORE) from error
    return Header.from_json(values, seal, address)


def read_record(path: Path) -> str | None:
    """The text of a shard's commit record, or None if there is none.

    Raises:
        DamageError: it is not what was written.
    """
    try:
        with open_file(path) as file:
            text, seal = file.attrs[RECORD], file.attrs[RECORD_SEAL].decode()
            sound = hashlib.sha256(text).hexdigest() == seal
    except FileNotFoundError:
        return None
    except (*HDF5_ERRORS, AttributeError, TypeError) as error:
        raise DamageError(f"the commit record in {path} cannot be read: {error}") from error
    if not sound:
        raise DamageError(f"the commit record in {path} is not the one that was written: its SHA-256 does not match")
    return str(text, "ascii")


def sha256_of(values: NDArray[Any]) -> str:
    """SHA-256, in hexadecimal, over values in C order, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(values, _little(values.dtype)).data).hexdigest()


def is_sealed(data: bytes) -> bool:
    """Whether these bytes of a `STORE` are all as they were written. Decided without HDF5: see `store_file`."""
    return hashlib.sha256(memoryview(data)[:-_SEAL_BYTES]).hexdigest().encode() == data[-_SEAL_BYTES:]


def _join(file: h5py.File, header: Header) -> None:
    """The five arrays over all rows. Shards that are not there read as fill."""
    for layout in layouts(header.schema):
        virtual = h5py.VirtualLayout((header.rows, *layout.row), _little(layout.dtype))
        for shard, rows in enumerate(header.schema.shards(header.rows)):
            # Relative to the file that names it, so that the folder can be moved.
            source = h5py.VirtualSource(shard_name(shard), layout.name, (len(rows), *layout.row))
            virtual[rows.start : rows.stop] = source
        dataset = file.create_virtual_dataset(layout.name, virtual, fillvalue=layout.fill)
        for number, name in enumerate(("image", *layout.dimensions)):
            dataset.dims[number].label = name
        if layout.name == "scores" and header.schema.scores == "probability":
            dataset.attrs["encoding"] = np.bytes_(json.dumps(scores.ENCODING))


def _column(file: h5py.File, name: str, rows: int, dtype: Any) -> h5py.Dataset:
    """An empty array over all rows, in chunks with checksums."""
    chunked = {"chunks": (min(rows, COLUMN_CHUNK),), **_PACKED, "fletcher32": True} if rows else {}
    dataset = file.create_dataset(name, (rows,), dtype, **chunked)
    dataset.dims[0].label = "image"
    return dataset


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")
