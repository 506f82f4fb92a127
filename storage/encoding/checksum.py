"""Is a chunk what was written? It ends with its crc32c, as Zarr's codec of that name writes it."""

from __future__ import annotations

import google_crc32c

CRC_BYTES = 4


def checksum(data: bytes) -> bytes:
    """The crc32c to append to a chunk of these bytes."""
    return int(google_crc32c.value(data)).to_bytes(CRC_BYTES, "little")


def body_of(data: memoryview | bytes) -> bytes | None:
    """The data without the crc32c at its end, or None if this checksum does not match."""
    body = bytes(data[:-CRC_BYTES])  # google_crc32c takes no other buffer
    return body if len(data) >= CRC_BYTES and checksum(body) == data[-CRC_BYTES:] else None
