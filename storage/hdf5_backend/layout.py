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
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.encoding import scores
from storage.encoding.coded_labels import CodedLabels, layouts
from storage.errors import DamageError, UnreadableError, a_file, another
from storage.files.contained import is_missing, to_read
from storage.hdf5_backend import sound
from storage.hdf5_backend.file import open_file
from storage.hdf5_backend.sound import is_of_the_system
from storage.header import ATTRIBUTE, SEAL, Header, seal_of
from storage.json_fields import MOST_BYTES, parsed
from storage.keys.key import MOST_KEY_BYTES, blocks
from storage.keys.key_index import slot_count
from storage.record import Record, most_bytes
from storage.schema import Schema

STORE, SHARDS = "store.h5", "shards"
DIGESTS, SLOTS = "key_index/digests", "key_index/slots"
RECORD, RECORD_SEAL = "record", "record_sha256"
# What h5py raises for a file that is missing or damaged: it has no separate type for HDF5's errors. TypeError: a value
# has a type that numpy does not have.
HDF5_ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError)
COLUMN_CHUNK = 4096  # rows of keys and targets that are packed together
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)  # as a Zarr store's are: a folder is no file
_FORMAT = ("v110", "v110")  # version 1.10 is the oldest library that must read the files
_PACKED: dict[str, Any] = {"shuffle": True, "compression": "gzip", "compression_opts": 4}
_SEAL_BYTES = 64
_AT_ONCE = 2**20  # bytes that are decoded, or read, and hashed together
_MOST_SEAL, _MOST_KEY = 2**10, 2**16  # bytes


def shard_name(shard: int) -> str:
    """The name of a shard's file in the store."""
    return f"{SHARDS}/{shard:06d}.h5"


def header_text(header: Header) -> bytes:
    """The header as stored."""
    return json.dumps(header.to_json()).encode()


def store_file(header: Header, keys: Sequence[str], targets: NDArray[np.int32], index: Sequence[NDArray[Any]]) -> bytes:
    """The bytes of `STORE`; `index` is digests and slots.

    The file ends with the SHA-256, in hexadecimal, of what is before it, which HDF5 ignores. HDF5 has no checksum
    for the names of the files that virtual arrays join.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=_FORMAT) as file:
        file.attrs[ATTRIBUTE] = np.bytes_(header_text(header))
        file.attrs[SEAL] = np.bytes_(seal_of(header.to_json()))
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
        UnreadableError: it cannot be read.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise a_file(address)
        has_shards = (folder / SHARDS).is_dir()  # checked first, because it is created after the file
    except OSError as error:
        raise UnreadableError(f"cannot read the store {address}: {error}") from error
    try:
        with open_file(to_read(folder, STORE)) as file:
            values = parsed(sound.text(file.attrs, ATTRIBUTE, MOST_BYTES))
            seal = sound.text(file.attrs, SEAL, _MOST_SEAL).decode() if SEAL in file.attrs else ""
        values["format"]
    except _MISSING:
        if has_shards:
            raise DamageError(f"the header of the store {address} is gone: it has no {STORE}") from None
        return None
    except (*HDF5_ERRORS, AttributeError, RecursionError) as error:
        if is_of_the_system(error):
            raise UnreadableError(f"cannot read the store {address}: {error}") from error
        if has_shards:
            raise DamageError(f"the header of the store {address} is damaged: {error!r}") from error
        raise another(address, STORE) from error
    return Header.from_json(values, seal, address)


def read_record(folder: Path, shard: int, rows: range) -> Record | None:
    """The commit record of a shard of these rows, or None if there is none.

    Raises:
        DamageError: it is not what was written, or another shard's.
        UnreadableError: it cannot be read.
    """
    if (file := open_shard(folder, shard)) is None:
        return None
    with file:
        return record_in(file, shard, rows)


def open_shard(folder: Path, shard: int) -> h5py.File | None:
    """The file of a shard, open for reading, or None if there is none.

    Raises:
        DamageError: it is not what was written.
        UnreadableError: it cannot be read.
    """
    try:
        return open_file(to_read(folder, shard_name(shard)))
    except _MISSING:
        return None
    except HDF5_ERRORS as error:
        raise unreadable(_record_title(folder / shard_name(shard)), error) from error


def record_in(file: h5py.File, shard: int, rows: range) -> Record:
    """The commit record in the open file of a shard of these rows.

    Raises:
        DamageError: it is not what was written, or another shard's.
        UnreadableError: it cannot be read.
    """
    title = _record_title(file.filename)
    try:
        text = sound.text(file.attrs, RECORD, most_bytes(len(rows)))
        seal = sound.text(file.attrs, RECORD_SEAL, _MOST_SEAL).decode()
        line = text.decode("ascii")
    except HDF5_ERRORS as error:
        raise unreadable(title, error) from error
    if hashlib.sha256(text).hexdigest() != seal:
        raise DamageError(f"{title} is not the one that was written: its SHA-256 does not match")
    record = Record.from_text(line, name=title, rows=rows)
    if record.objects.keys() != {f"{shard_name(shard)}/{name}" for name in CodedLabels._fields}:
        raise DamageError(f"{title} names {', '.join(record.objects) or 'no arrays'}, not those of shard {shard}")
    return record


def unreadable(what: str, error: BaseException) -> DamageError | UnreadableError:
    """The error that says why something cannot be read: because it is damaged, or for another reason."""
    kind = UnreadableError if is_of_the_system(error) and not is_missing(error) else DamageError
    return kind(f"{what} cannot be read: {error}")


def column(file: h5py.File, name: str, rows: int) -> h5py.Dataset:
    """An array of a `STORE` of so many rows that is read: keys, targets, digests or slots.

    Raises:
        KeyError: there is none.
        ValueError: it is not in this file, or not of the type, length and chunks that it must have.
    """
    found = sound.dataset(file, name)
    length, dtype = {
        "keys": (rows, found.dtype),
        "targets": (rows, np.dtype("<i4")),
        DIGESTS: (rows, np.dtype("<u8")),
        SLOTS: (slot_count(rows), np.dtype("<u4")),
    }[name]
    if name == "keys":
        is_right = found.dtype.kind == "S" and found.dtype.itemsize <= _MOST_KEY
    else:
        is_right = sound.is_plain(found.id, dtype)
    if found.shape != (length,) or not is_right:
        raise ValueError(f"{name!r} is {found.dtype} {found.shape}, and must be plain {dtype} {(length,)}")
    if rows and name in ("keys", "targets"):
        sound.check_chunks(found.id, name, (min(rows, COLUMN_CHUNK),), sound.PACKED)
    elif rows and found.id.get_storage_size() != length * dtype.itemsize:  # else it holds fill
        raise ValueError(f"{name!r} has {found.id.get_storage_size()} bytes, and must have {length * dtype.itemsize}")
    return found


def sha256_of(values: NDArray[Any]) -> str:
    """SHA-256, in hexadecimal, over values in C order, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(values, _little(values.dtype)).data).hexdigest()


def sha256_stored(found: h5py.h5d.DatasetID) -> str:
    """The same over the values of a dataset, which are decoded a part at a time: a shard may be larger than memory."""
    values, digest = h5py.Dataset(found), hashlib.sha256()
    step = max(1, _AT_ONCE // (math.prod(found.shape[1:]) * found.dtype.itemsize))
    for start in range(0, len(values), step):
        digest.update(np.ascontiguousarray(values[start : start + step]).data)
    return digest.hexdigest()


def is_sealed(path: Path, header: Header) -> bool:
    """Whether all bytes of a `STORE` are as they were written. Decided without HDF5: see `store_file`.

    Raises:
        OSError: it cannot be read.
    """
    left = path.stat().st_size - _SEAL_BYTES
    # 64 bytes of a row are of targets and index.
    if not 0 <= left <= 2 * MOST_BYTES + header.rows * (MOST_KEY_BYTES + 64) + header.shard_count * 4096:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(min(left, _AT_ONCE)):
            digest.update(block)
            left -= len(block)
        return file.read() == digest.hexdigest().encode()


def _record_title(path: Path | str) -> str:
    return f"the commit record in {path}"


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
