"""Which row has a key, among millions, without loading them? A hash table on disk that is mapped into memory.

Each key has a digest of 64 bits. `digests` has them in the order of the rows; `slots` is an open-addressing hash table
of row numbers, at most half full:

    home of a digest = floor(digest / 2^32 * len(slots) / 2^32)
    a key whose slot is taken goes into the next free slot; slot 0 follows the last

A slot counts only if the digest of its row is the digest of the key. So a damaged index loses keys, but never gives a
key the row of another. If two keys of one store share a digest when the index is built, other salts are tried until no
two do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from storage.encoding.checksum import CRC_BYTES
from storage.errors import DamageError, UnreadableError
from storage.files.contained import is_missing, to_read
from storage.files.memory_map import MemoryMap
from storage.keys.key import blocks, refuse_repeats

EMPTY = 2**32 - 1
BLOCK_ENTRIES = 2**20  # entries of one object of each array
_PART_BITS = 6
_MOST_STEPS = 2**16  # from a home: in a table that is half full, some hundred are many


def slot_count(rows: int) -> int:
    """How many slots the table of so many rows has."""
    return 2 * rows


def build(keys: Sequence[str], *, salt: int = 0) -> tuple[int, NDArray[np.uint64], NDArray[np.uint32]]:
    """The salt, the digests uint64 [rows], and the table uint32 [slot_count] of these keys.

    Raises:
        StoreError: two keys are equal.
    """
    digests = _digests(keys, salt)
    slots = _table(digests)
    if slots is None:
        refuse_repeats(keys, digests)
        return build(keys, salt=salt + 1)
    return salt, digests, slots


def _digests(keys: Sequence[str], salt: int) -> NDArray[np.uint64]:
    """The digest of every key."""
    digest, found, start = _blake2b(salt), np.empty(len(keys), np.uint64), 0
    for block in blocks(keys):
        stop = start + len(block)
        found[start:stop] = np.frombuffer(b"".join(map(digest, map(str.encode, block))), "<u8")
        start = stop
    return found


def _table(digests: NDArray[np.uint64]) -> NDArray[np.uint32] | None:
    """The slots of these digests, or None where two are equal."""
    count = slot_count(len(digests))
    slots = np.full(count, EMPTY, np.uint32)
    over: list[int] = []  # rows beyond the last slot, in order
    last = -1
    # In parts by the first bits of the digests, so that sorting needs memory for one part only.
    parts = np.empty(len(digests), np.uint8)
    np.right_shift(digests, np.uint64(64 - _PART_BITS), out=parts, casting="unsafe")
    for part in range(2**_PART_BITS):
        rows = np.flatnonzero(parts == part)
        rows = rows[np.argsort(digests[rows])]
        ordered = digests[rows]
        if (ordered[1:] == ordered[:-1]).any():
            return None
        home = (((ordered >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)).astype(np.int64)
        # In the order of their homes, each goes to its home or to the first slot after its predecessor.
        steps = np.arange(len(rows))
        taken = np.maximum(np.maximum.accumulate(home - steps), last + 1) + steps
        last = int(taken[-1]) if len(taken) else last
        inside = taken < count
        slots[taken[inside]] = rows[inside]
        over += rows[~inside].tolist()
    slot = 0
    for row in over:
        while slots[slot] != EMPTY:
            slot += 1
        slots[slot] = row
    return slots


class Blocks:
    """One of the two arrays in blocks of `BLOCK_ENTRIES` entries: mapped from plain chunks, or in memory."""

    def __init__(self, views: Sequence[memoryview], owners: Sequence[object] = ()) -> None:
        """Args: the blocks, and what must live as long as they do."""
        self.views = views
        self._owners = owners

    @classmethod
    def of(cls, values: NDArray[Any], letter: Literal["Q", "I"]) -> Self:
        """The blocks of an array in memory."""
        # By way of bytes: Zarr may state the byte order of what it decodes, which memoryview refuses even if native.
        blocks = (
            np.ascontiguousarray(values[start : start + BLOCK_ENTRIES]).data
            for start in range(0, len(values), BLOCK_ENTRIES)
        )
        return cls([block.cast("B").cast(letter) for block in blocks])

    @classmethod
    def map(cls, folder: Path, chunks: str, count: int, letter: Literal["Q", "I"]) -> Self:
        """The blocks of an array of this many uint64 (Q) or uint32 (I).

        Args:
            folder: folder of the store.
            chunks: the name of the folder in it whose files 0, 1, … are the array's chunks.
            count: number of entries.
            letter: numpy's letter of their type.

        Raises:
            DamageError: a file is missing or has a wrong length.
            UnreadableError: a file cannot be read.
        """
        bytes_each = min(count, BLOCK_ENTRIES) * np.dtype(letter).itemsize + CRC_BYTES
        files = []
        for number in range(-(-count // BLOCK_ENTRIES)):
            path = folder / chunks / str(number)
            try:
                if (found := to_read(folder, f"{chunks}/{number}").stat().st_size) != bytes_each:
                    raise DamageError(f"the key index {path} has {found} bytes, not {bytes_each}")
                files.append(MemoryMap(path, reading=len))  # 2 ms for a million keys
            except OSError as error:
                kind = DamageError if is_missing(error) else UnreadableError
                raise kind(f"the key index {path} cannot be read: {error}") from error
        return cls([file.data[:-CRC_BYTES].cast(letter) for file in files], files)


class KeyIndex:
    """Finds rows by the two arrays, without copying them."""

    def __init__(self, digests: Blocks, slots: Blocks, *, rows: int, salt: int) -> None:
        """Args: the blocks of both arrays, the rows of the store, and the salt of its digests."""
        self._blocks = digests, slots
        self._digests = digests.views
        self._slots = slots.views
        self._count = slot_count(rows)
        self._rows = rows
        self._digest = _blake2b(salt)

    def __repr__(self) -> str:
        """Its size; it reads nothing."""
        return f"KeyIndex({self._rows} rows, {self._count} slots)"

    def find(self, key: str) -> int | None:
        """The row of a key, or None.

        Raises:
            DamageError: the table is too full to have been made by `build`.
        """
        # Every key of a store is valid UTF-8, but one that is looked up may not be.
        wanted = int.from_bytes(self._digest(key.encode(errors="surrogatepass")), "little")
        slot = (wanted >> 32) * self._count >> 32
        for _ in range(min(self._count, _MOST_STEPS)):
            row: int = self._slots[slot // BLOCK_ENTRIES][slot % BLOCK_ENTRIES]
            if row >= self._rows:
                return None
            if self._digests[row // BLOCK_ENTRIES][row % BLOCK_ENTRIES] == wanted:
                return row
            slot = slot + 1 if slot + 1 < self._count else 0
        if self._count <= _MOST_STEPS:
            return None
        raise DamageError(
            f"the key index has no free slot among {_MOST_STEPS:,}: `annotate verify --repair` makes it anew"
        )


def _blake2b(salt: int) -> Callable[[bytes], bytes]:
    """A function that returns 64 bits of BLAKE2b over a key in UTF-8; `salt` is BLAKE2b's parameter of that name."""
    begun = hashlib.blake2b(digest_size=8, salt=salt.to_bytes(16, "little")).copy  # faster than a new hash each time

    def digest(key: bytes) -> bytes:
        state = begun()
        state.update(key)
        return state.digest()

    return digest
