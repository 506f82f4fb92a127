"""How do the labels of a shard become objects? In the layout of Zarr v3, each object built in one piece.

shard_reader.py describes their bytes. zarr-python would write the same values in the same layout, but takes four
times as long, and first reads the object that it replaces.
"""

from __future__ import annotations

import struct
import threading
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from storage.encoding.checksum import checksum
from storage.encoding.coded_labels import Layout

_MISSING = 2**64 - 1  # offset and length of an inner chunk beyond the last row of the store
_LEVEL = 9  # above it, reading slows down


class _Compressor(threading.local):
    """One for each thread: threads must not share zstandard's objects."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress


_zstd = _Compressor()


def shard_object(layout: Layout, values: NDArray[Any], rows_per_shard: int) -> bytes:
    """The object that holds these rows [n, ...] of an array, n at most `rows_per_shard`."""
    values = np.ascontiguousarray(values, layout.dtype.newbyteorder("<"))
    if layout.is_map:
        return _packed(values, rows_per_shard)
    rows = np.full((rows_per_shard, *layout.row), layout.fill, values.dtype)
    rows[: len(values)] = values
    return _with_checksum(rows.tobytes())


def string_object(text: str) -> bytes:
    """The object of an array of strings that holds this one string."""
    data = text.encode()
    return _with_checksum(struct.pack("<II", 1, len(data)) + data)


def _packed(values: NDArray[Any], rows_per_shard: int) -> bytes:
    chunks = [_zstd.compress(row) for row in values]
    entries: list[int] = []
    offset = 0
    for chunk in chunks:
        entries += offset, len(chunk)
        offset += len(chunk)
    entries += [_MISSING] * (2 * (rows_per_shard - len(chunks)))
    return b"".join(chunks) + _with_checksum(struct.pack(f"<{len(entries)}Q", *entries))


def _with_checksum(data: bytes) -> bytes:
    return data + checksum(data)
