"""How much memory may zarr-python use to decode a chunk? No more than a chunk needs by the header.

A zstd frame states its own decoded size, and zarr-python's codec allocates that much, however large it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import zstandard
from zarr.abc.codec import Codec
from zarr.codecs import ShardingCodec, ZstdCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.core.metadata import ArrayV3Metadata

from storage.keys.key import MOST_KEY_BYTES

_KEY_BYTES = 4 + MOST_KEY_BYTES  # upper limit for the mean size of a key, with its length
_LEAST_BYTES = 2**24  # a chunk of keys may always have this many


def most_stored(metadata: ArrayV3Metadata) -> int:
    """How many bytes an object of a column may have: a chunk that no codec makes smaller."""
    (count,) = metadata.chunk_grid.chunk_shape
    most = _most(count, metadata)
    return most + most // 64 + 2**16


def bounded(metadata: ArrayV3Metadata) -> ArrayV3Metadata:
    """The same metadata, with codecs that refuse a chunk whose stated size is not what it should be."""
    return replace(metadata, codecs=tuple(_bounded(codec, metadata) for codec in metadata.codecs))


@dataclass(frozen=True)
class BoundedZstd(ZstdCodec):  # type: ignore[misc]  # zarr is not type-checked
    """Zarr's zstd codec, which checks the stated size of a frame before it decodes it.

    least, most: allowed size of a decoded chunk, bytes
    strings:     number of strings in a chunk; None for an array of numbers
    """

    least: int = 0
    most: int = 0
    strings: int | None = None

    def __init__(self, codec: ZstdCodec, *, least: int, most: int, strings: int | None = None) -> None:
        super().__init__(level=codec.level, checksum=codec.checksum)
        for name, value in (("least", least), ("most", most), ("strings", strings)):
            object.__setattr__(self, name, value)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        size = zstandard.frame_content_size(chunk_bytes.to_bytes()[:32])
        if not self.least <= size <= self.most:  # -1: the frame states no size
            raise ValueError(f"a chunk says that it holds {size:,} bytes; it may hold {self.most:,}")
        decoded = await super()._decode_single(chunk_bytes, chunk_spec)
        if self.strings is not None:  # their number comes first, and the decoder allocates for all of them at once
            found = int.from_bytes(decoded.as_numpy_array()[:4].tobytes(), "little")
            if found != self.strings:
                raise ValueError(f"a chunk says that it holds {found:,} strings, not {self.strings:,}")
        return decoded


def _bounded(codec: Codec, metadata: ArrayV3Metadata) -> Any:
    chunk = metadata.chunk_grid.chunk_shape  # all our grids are regular
    if isinstance(codec, ShardingCodec):
        inner = [_of_chunk(each, metadata, codec.chunk_shape) for each in codec.codecs]
        return replace(codec, codecs=tuple(inner))
    return _of_chunk(codec, metadata, chunk)


def _of_chunk(codec: Codec, metadata: ArrayV3Metadata, shape: tuple[int, ...]) -> Any:
    if not isinstance(codec, ZstdCodec):
        return codec
    count = 1
    for side in shape:
        count *= side
    most = _most(count, metadata)
    if _has_strings(metadata):
        return BoundedZstd(codec, least=4, most=most, strings=count)
    return BoundedZstd(codec, least=most, most=most)


def _most(count: int, metadata: ArrayV3Metadata) -> int:
    """How many bytes so many values may have."""
    if _has_strings(metadata):
        return max(_LEAST_BYTES, 4 + count * _KEY_BYTES)  # their number comes first
    size: int = count * metadata.dtype.to_native_dtype().itemsize
    return size


def _has_strings(metadata: ArrayV3Metadata) -> bool:
    """Whether its values are strings, of any length."""
    return metadata.dtype.to_native_dtype().kind not in "uif"
