"""How is one label read from a local store in microseconds? Map its objects, check their index, decode one chunk.

`classes` and `scores` have one inner chunk a picture. Their objects, as Zarr v3 writes them (docs/format.md):

    chunk | chunk | ... | index: (offset, length) as uint64 for each inner chunk | crc32c of the index
    chunk = zstd frame, with a checksum of its content

The small arrays have one plain chunk a shard, whose rows are read from the mapping:

    row | row | ... | crc32c of the rows

zarr-python reads the same bytes with much more work for each chunk; tests compare the two.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import numpy as np
import zstandard
from numpy.typing import NDArray

from storage.encoding.checksum import CRC_BYTES, body_of
from storage.encoding.coded_labels import CodedLabels, Layout, layouts
from storage.errors import DamageError, UnreadableError
from storage.files.contained import is_missing, to_read
from storage.files.memory_map import MemoryMap
from storage.files.open_shards import OpenShards, open_shards
from storage.remote.kept import Kept
from storage.schema import Schema
from storage.zarr_backend.commit import check_still

_ENTRY_BYTES = 16
_STRING_HEAD = 8  # how many strings there are, and the length of the first: uint32 each


class _Decompressor(threading.local):
    """One for each thread: threads must not share zstandard's objects."""

    def __init__(self) -> None:
        self.decompress = zstandard.ZstdDecompressor().decompress


_zstd = _Decompressor()
_content_size = zstandard.frame_content_size


class _Chunks(NamedTuple):
    """An object with chunks, and its index as uint64: offset and length of each chunk in turn."""

    data: memoryview
    entries: memoryview


class _Shard(NamedTuple):
    """The objects of a shard: two with chunks, three read as arrays. No view may outlive the mappings."""

    classes: _Chunks
    scores: _Chunks
    boxes: NDArray[np.float32]
    sizes: NDArray[np.uint32]
    status: NDArray[np.uint8]
    mappings: list[MemoryMap]


@final
class ShardReader:
    """Reads labels of shards below a local folder. Cheap to make; not to be pickled."""

    def __init__(
        self,
        folder: Path,
        schema: Schema,
        recorded: Callable[[int], Mapping[str, str]],
        kept: Kept | None = None,
    ) -> None:
        """Describe the store. Nothing is read yet.

        Args:
            folder: folder of the store.
            schema: schema of the store.
            recorded: the SHA-256 of the objects of a shard by their names, as its commit record has them.
            kept: what fetches the objects of a remote store into the folder, or None.
        """
        self._kept = kept
        self._folder = folder
        self._recorded = recorded
        self._compared: dict[str, tuple[int, int, int]] = {}  # objects that were those of the record
        self._rows = schema.rows_per_shard
        self._layouts = layouts(schema)
        self._grid = *schema.grid, schema.k
        self._class_dtype, self._score_dtype = schema.class_dtype, schema.score_dtype
        entries = math.prod(self._grid)
        self._class_bytes, self._score_bytes = (
            entries * self._class_dtype.itemsize,
            entries * self._score_dtype.itemsize,
        )
        self._open = OpenShards[_Shard]()

    def read(self, positions: Sequence[tuple[int, int]]) -> CodedLabels:
        """The labels at these positions, (number of the shard, row within it).

        Raises:
            DamageError: an object or a chunk is missing, fails its checksum, or is not of this shard.
            NotLabelledError: the record of a shard is not there any more.
            UnreadableError: one cannot be read.
        """
        # Plain Python with few calls, because training waits for this.
        opened, chunk, count = self._open, self._chunk, len(positions)
        if self._kept is not None and (new := {shard for shard, _ in positions} - opened.keys()):
            most = max(most_bytes(layout, self._rows) for layout in self._layouts)
            check_still(
                lambda: {name: digest for shard in sorted(new) for name, digest in self._recorded(shard).items()},
                partial(self._kept.fetch_all, most=most),
            )
        class_bytes, score_bytes = self._class_bytes, self._score_bytes
        classes, scores = bytearray(), bytearray()
        boxes, sizes = np.empty((count, 4), np.float32), np.empty((count, 2), np.uint32)
        status = np.empty(count, np.uint8)
        for n, (number, row) in enumerate(positions):
            shard = opened.get(number) or self._map(number)
            classes += chunk(shard.classes, class_bytes, number, row)
            scores += chunk(shard.scores, score_bytes, number, row)
            boxes[n], sizes[n], status[n] = shard.boxes[row], shard.sizes[row], shard.status[row]
        return CodedLabels(
            np.ndarray((count, *self._grid), self._class_dtype, classes),
            np.ndarray((count, *self._grid), self._score_dtype, scores),
            boxes,
            sizes,
            status,
        )

    def one(self, number: int, row: int) -> CodedLabels:
        """The label at one position, without the first axis: as `read`, without what only a batch needs.

        Raises:
            DamageError: as `read` does.
        """
        shard = self._open.get(number) or self._map(number)
        classes = bytearray(self._chunk(shard.classes, self._class_bytes, number, row))
        scores = bytearray(self._chunk(shard.scores, self._score_bytes, number, row))
        return CodedLabels(
            np.ndarray(self._grid, self._class_dtype, classes),
            np.ndarray(self._grid, self._score_dtype, scores),
            shard.boxes[row].copy(),
            shard.sizes[row].copy(),
            shard.status[row, ...].copy(),
        )

    def rows(self, name: Literal["boxes", "sizes", "status"], shard: int) -> NDArray[Any]:
        """One of the small arrays, for all rows of a shard; beyond the last row of the store it is fill.

        Raises:
            DamageError: its object is missing or fails its checksum.
        """
        if (opened := self._open.get(shard)) is not None:
            values: NDArray[Any] = getattr(opened, name)
            return values.copy()
        layout = next(layout for layout in self._layouts if layout.name == name)
        mapping = check_still(lambda: self._recorded(shard), lambda it: self._mapped(layout, shard, it))
        return np.ndarray((self._rows, *layout.row), layout.dtype, mapping.data).copy()

    def release(self, shard: int) -> None:
        """Unmap the objects of a shard, so that the next read maps them again: they were replaced."""
        self._open.pop(shard, None)

    def _chunk(self, chunks: _Chunks, size: int, shard: int, row: int) -> bytes:
        """The bytes of one inner chunk, which must be `size`."""
        data, entries = chunks
        offset = entries[2 * row]
        end = offset + entries[2 * row + 1]
        if end > len(data):  # also if it was never written: then both are 2**64 - 1
            raise self._damage(shard, row, "is missing")
        frame = data[offset:end]
        try:
            if (found := _content_size(frame)) != size:  # before as much memory is taken as it says; -1: it does not
                raise self._damage(shard, row, f"belongs to another store: its chunk has {found} bytes, not {size}")
            return _zstd.decompress(frame)
        except zstandard.ZstdError as error:
            raise self._damage(shard, row, f"is damaged: {error}") from error

    def _damage(self, shard: int, row: int, what: str) -> DamageError:
        return DamageError(f"row {row} of shard {shard} in {self._folder} {what}; `annotate verify` lists the damage")

    def _map(self, number: int) -> _Shard:
        """Map the objects of a shard, and check what all reads depend on. Keep them as long as their data are used."""
        mappings = check_still(
            lambda: self._recorded(number),
            lambda recorded: [self._mapped(layout, number, recorded) for layout in self._layouts],
        )
        views: list[Any] = [
            _Chunks(mapping.data, mapping.data[-least_bytes(layout, self._rows) : -CRC_BYTES].cast("Q"))
            if layout.is_map
            else np.ndarray((self._rows, *layout.row), layout.dtype, mapping.data)
            for layout, mapping in zip(self._layouts, mappings, strict=True)
        ]
        classes, scores, boxes, sizes, status = views
        shard = self._open[number] = _Shard(classes, scores, boxes, sizes, status, mappings)
        open_shards.add(self._open, number, sum(mapping.copied for mapping in mappings))
        return shard

    def _mapped(self, layout: Layout, number: int, recorded: Mapping[str, str]) -> MemoryMap:
        """An object of a shard, once it is what the commit record says. One that was compared before is not hashed.

        Raises:
            DamageError: it is missing, or not what was written for this shard.
            UnreadableError: it cannot be read.
        """
        name = object_name(layout, number)
        path = self._folder / name
        most = most_bytes(layout, self._rows)
        if self._kept is not None and not self._kept.fetch(name, recorded[name], most=most):
            raise DamageError(f"{name} of {self._kept.address} is missing; `annotate verify` lists all damage")
        try:
            status = to_read(self._folder, name).stat()
            if not has_length(layout, self._rows, status.st_size):  # nor can an empty file be mapped
                least = least_bytes(layout, self._rows)
                raise DamageError(f"the shard {path} is truncated: it has {status.st_size} bytes and needs {least}")
            seen = status.st_ino, status.st_mtime_ns, status.st_size
            digest = None if self._compared.get(name) == seen else hashlib.sha256()
            mapping = MemoryMap(path, reading=None if digest is None else digest.update)
        except OSError as error:
            if is_missing(error):
                raise DamageError(f"the shard {path} cannot be read: {error}") from error
            raise UnreadableError(f"the shard {path} cannot be read: {error}") from error
        self._check(layout, mapping.data, path)
        if digest is not None:
            if digest.hexdigest() != recorded.get(name):
                raise DamageError(
                    f"the shard {path} is not the object that its commit record names; "
                    "`annotate verify` lists the damage"
                )
            self._compared[name] = seen
        return mapping

    def _check(self, layout: Layout, data: memoryview, path: Path) -> None:
        least = least_bytes(layout, self._rows)
        if body_of(data[-least:]) is None:
            raise DamageError(
                f"the shard {path} is damaged: its crc32c does not match; `annotate verify` lists the damage"
            )


def one_string(data: bytes) -> str | None:
    """The text of a chunk of Zarr's vlen-utf8 codec that holds one string, or None if its crc32c does not match."""
    body = body_of(data)
    return None if body is None else body[_STRING_HEAD:].decode(errors="replace")


def least_bytes(layout: Layout, rows_per_shard: int) -> int:
    """The bytes of an object of this array: all of them where it is plain, and else those of its index."""
    row = _ENTRY_BYTES if layout.is_map else math.prod(layout.row) * layout.dtype.itemsize
    return rows_per_shard * row + CRC_BYTES


def most_bytes(layout: Layout, rows_per_shard: int) -> int:
    """The bytes of an object of this array at most: what zstd cannot make smaller, it makes hardly larger."""
    frame = 2 * math.prod(layout.row) * layout.dtype.itemsize + 1024
    return least_bytes(layout, rows_per_shard) + (rows_per_shard * frame if layout.is_map else 0)


def has_length(layout: Layout, rows_per_shard: int, length: int) -> bool:
    """Whether an object of this array can have this many bytes."""
    return least_bytes(layout, rows_per_shard) <= length <= most_bytes(layout, rows_per_shard)


def object_name(layout: Layout, shard: int) -> str:
    """The name of the object that holds an array's part of a shard."""
    return "/".join([layout.name, "c", str(shard), *"0" * len(layout.row)])
