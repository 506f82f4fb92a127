"""How is one label read from a local shard in microseconds? Map the object, check its index, decode one chunk.

A Zarr v3 shard object, as this project writes it (docs/format.md):

    chunk | chunk | ... | index: (offset, length) as uint64 for each inner chunk | crc32c of the index
    chunk = zstd frame | crc32c of the frame

zarr-python reads the same bytes with much more work for each chunk; tests hold the two equal.
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import Zstd
from numpy.typing import NDArray

from storage.errors import DamageError

_CRC_BYTES = 4
_INDEX_ENTRY_BYTES = 16
_ABSENT = 2**64 - 1  # offset and length of an inner chunk that was never written
_OPEN_SHARDS = 512  # mapped at once; a mapping costs no file descriptor, but the kernel allows about 65,000
_zstd = Zstd()


def check_crc(data: memoryview | bytes, what: str) -> memoryview:
    """The data without the crc32c that ends it.

    Raises:
        DamageError: the checksum does not hold.
    """
    view = memoryview(data)
    body, stored = view[:-_CRC_BYTES], bytes(view[-_CRC_BYTES:])
    # bytes(): google_crc32c takes no buffer.
    if len(stored) < _CRC_BYTES or google_crc32c.value(bytes(body)) != int.from_bytes(stored, "little"):
        raise DamageError(f"{what} is damaged: its crc32c does not hold; `annotate verify` lists all damage")
    return body


class ShardReader:
    """Reads inner chunks of one sharded array below a local folder. Cheap to make; not to be pickled."""

    def __init__(self, folder: Path, *, chunks_per_shard: int, chunk_shape: tuple[int, ...], dtype: np.dtype[Any]):
        self._folder = folder
        self._chunks_per_shard = chunks_per_shard
        self._chunk_shape = chunk_shape
        self._dtype = dtype
        self._open: OrderedDict[int, tuple[memoryview, NDArray[np.uint64]]] = OrderedDict()

    def chunk(self, shard: int, place: int) -> NDArray[Any]:
        """The inner chunk at this place of this shard, read-only.

        Raises:
            DamageError: the object or the chunk is missing or fails its checksum.
        """
        data, index = self._open.get(shard) or self._map(shard)
        offset, length = (int(number) for number in index[place])
        what = f"chunk {place} of {self._path(shard)}"
        if offset == _ABSENT or offset + length > len(data):
            raise DamageError(f"{what} is missing; `annotate verify` lists all damage")
        frame = check_crc(data[offset : offset + length], what)
        try:
            chunk = np.frombuffer(_zstd.decode(frame), self._dtype)
            return chunk.reshape(self._chunk_shape)
        except (RuntimeError, ValueError) as error:
            raise DamageError(f"{what} does not decode: {error}") from error

    def _path(self, shard: int) -> Path:
        return self._folder.joinpath("c", str(shard), *["0"] * (len(self._chunk_shape) - 1))

    def _map(self, shard: int) -> tuple[memoryview, NDArray[np.uint64]]:
        path = self._path(shard)
        index_bytes = self._chunks_per_shard * _INDEX_ENTRY_BYTES + _CRC_BYTES
        try:
            with path.open("rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:  # ValueError: the file is empty
            raise DamageError(f"the shard {path} cannot be read: {error}") from error
        if len(data) < index_bytes:
            raise DamageError(f"the shard {path} is truncated: it has {len(data)} bytes, its index alone {index_bytes}")
        index = check_crc(data[len(data) - index_bytes :], f"the index of {path}")
        opened = data, np.frombuffer(index, "<u8").reshape(-1, 2)
        self._open[shard] = opened
        if len(self._open) > _OPEN_SHARDS:
            self._open.popitem(last=False)
        return opened
