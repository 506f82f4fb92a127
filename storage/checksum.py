"""Is a chunk what was written? A crc32c ends it, as Zarr's codec of that name writes it."""

from __future__ import annotations

import google_crc32c

CRC_BYTES = 4


def body_of(data: memoryview | bytes) -> bytes | None:
    """The data without the crc32c that ends it, or None where the checksum does not hold."""
    body = bytes(data[:-CRC_BYTES])  # google_crc32c takes no other buffer
    holds = len(data) >= CRC_BYTES and google_crc32c.value(body) == int.from_bytes(data[-CRC_BYTES:], "little")
    return body if holds else None
