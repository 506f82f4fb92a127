"""How is a label read from the files of shards? Through h5py, which verifies every checksum; a few files stay open."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.encoding.coded_labels import CodedLabels, Layout, layouts
from storage.errors import DamageError, UnreadableError
from storage.files.contained import to_read
from storage.hdf5_backend import sound
from storage.hdf5_backend.file import open_file
from storage.hdf5_backend.layout import HDF5_ERRORS, open_shard, record_in, sha256_stored, shard_name, unreadable
from storage.hdf5_backend.sound import is_of_the_system
from storage.header import Header
from storage.record import Record

_Seen = tuple[int, int, int]  # inode, time in ns and bytes of a file, which tell it from one that replaces it
_OPEN_SHARDS = 64  # each has a file descriptor, and half a megabyte of HDF5's own


class _Shard(NamedTuple):
    """An open file, its two maps to read from, and its small arrays."""

    file: h5py.File  # must stay open while its arrays are read
    classes: h5py.Dataset
    scores: h5py.Dataset
    boxes: NDArray[np.float32]
    sizes: NDArray[np.uint32]
    status: NDArray[np.uint8]


@final
class ShardFiles:
    """Reads labels of shards in a folder. Cheap to make; not to be pickled."""

    def __init__(self, folder: Path, header: Header) -> None:
        """Args: the store's folder, and its header. Nothing is read yet."""
        self._folder = folder
        self._rows_of = header.rows_of
        self._layouts = layouts(header.schema)
        self._compared: dict[int, _Seen] = {}  # files whose values were those of their record
        self._start()

    def read(self, positions: Sequence[tuple[int, int]]) -> CodedLabels:
        """The labels at these positions, (number of the shard, row within it).

        Raises:
            DamageError: a file or a chunk is missing or fails its checksum.
        """
        labels = CodedLabels(*[np.empty((len(positions), *layout.row), layout.dtype) for layout in self._layouts])
        for n in sorted(range(len(positions)), key=positions.__getitem__):  # each file is opened once at most
            number, row = positions[n]
            shard = self._shard(number)
            try:
                labels.classes[n] = shard.classes[row]
                labels.scores[n] = shard.scores[row]
            except HDF5_ERRORS as error:
                if is_of_the_system(error):
                    raise UnreadableError(f"row {row} of the shard {self._path(number)}: {error}") from error
                raise DamageError(
                    f"row {row} of the shard {self._path(number)} is damaged: {error}; "
                    "`annotate verify` lists the damage"
                ) from error
            labels.boxes[n], labels.sizes[n], labels.status[n] = (
                shard.boxes[row],
                shard.sizes[row],
                shard.status[row],
            )
        return labels

    def rows(self, name: str, shard: int) -> NDArray[Any]:
        """One of the small arrays, for all rows of a shard.

        Raises:
            DamageError: its file is missing or fails a checksum.
        """
        values: NDArray[Any] = getattr(self._shard(shard), name)
        return values.copy()

    def recorded(self, shard: int) -> tuple[Record | None, dict[str, str]]:
        """The commit record of a shard, and the SHA-256 of the values of each array that is not damaged, by its name.

        All are of one file, which stays open to be read if it is sound: a writer may replace it at any time. None if
        there is no file.

        Raises:
            DamageError: the record is not what was written.
            UnreadableError: the file cannot be read, whatever it holds.
        """
        with self._lock():
            self._open.pop(shard, None)
        try:
            seen = self._seen(shard)
        except OSError:  # `open_shard` says why
            seen = None
        rows, found = self._rows_of(shard), dict[str, str]()
        with ExitStack() as closing:
            if (file := open_shard(self._folder, shard)) is None:
                return None, found
            closing.callback(file.close)
            record = record_in(file, shard, rows)
            arrays = []
            for layout in self._layouts:
                try:
                    arrays.append(self._array(file, layout, len(rows), new=True))
                    found[f"{shard_name(shard)}/{layout.name}"] = sha256_stored(arrays[-1])
                except (*HDF5_ERRORS, DamageError) as error:
                    if is_of_the_system(error):
                        raise unreadable(f"the shard {self._path(shard)}", error) from error
            if seen is not None and found == record.objects:
                self._compared[shard] = seen
                with self._lock():
                    self._keep(shard, self._ready(file, arrays))
                closing.pop_all()  # it stays open
        return record, found

    def release(self) -> None:
        """Close all files, so that the next read opens them again: some were replaced."""
        with self._lock():
            self._open.clear()

    def _start(self) -> None:
        self._open: OrderedDict[int, _Shard] = OrderedDict()  # the most recently read at the end
        self._change = Lock()
        self._process = os.getpid()

    def _lock(self) -> Lock:
        """The lock that guards `_open`: while a file is closed, other threads may run."""
        if self._process != os.getpid():
            # Files that were opened before a fork. Dropping them closes only this process's descriptors.
            self._start()
        return self._change

    def _shard(self, number: int) -> _Shard:
        with self._lock():
            shard = self._open.pop(number, None) or self._opened(number)
            self._keep(number, shard)
        return shard

    def _keep(self, number: int, shard: _Shard) -> None:
        self._open[number] = shard
        if len(self._open) > _OPEN_SHARDS:
            self._open.popitem(last=False)  # it is closed when no other thread reads from it

    def _opened(self, number: int) -> _Shard:
        path, rows = self._path(number), self._rows_of(number)
        try:
            seen = self._seen(number)
            new = self._compared.get(number) != seen
            file = open_file(path)
            recorded = record_in(file, number, rows).objects if new else {}
            arrays = [self._array(file, layout, len(rows), new=new) for layout in self._layouts]
            for layout, array in zip(self._layouts if new else (), arrays, strict=False):
                if sha256_stored(array) != recorded[f"{shard_name(number)}/{layout.name}"]:
                    raise DamageError(
                        f"{layout.name} in the shard {path} is not the object that its commit record names; "
                        "`annotate verify` lists the damage"
                    )
            shard = self._ready(file, arrays)
        except HDF5_ERRORS as error:
            raise unreadable(f"the shard {path}", error) from error
        self._compared[number] = seen
        return shard

    def _ready(self, file: h5py.File, arrays: Sequence[h5py.h5d.DatasetID]) -> _Shard:
        """The shard of an open file: its small arrays are read."""
        parts: list[Any] = []
        for layout, array in zip(self._layouts, arrays, strict=True):
            if layout.is_map:  # readonly, so that h5py works out once how it is read
                parts.append(h5py.Dataset(array, readonly=True))
            else:
                parts.append(np.empty(array.shape, layout.dtype))
                array.read(h5py.h5s.ALL, h5py.h5s.ALL, parts[-1])
        return _Shard(file, *parts)

    def _array(self, file: h5py.File, layout: Layout, rows: int, *, new: bool) -> h5py.h5d.DatasetID:
        """An array of a shard of so many rows, which is checked in full if its file is new.

        Raises:
            DamageError: it is not as it must be.
        """
        # h5py's lower level: file[name] takes much longer, and a random read waits for this.
        name = layout.name.encode()
        if file.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise DamageError(f"the shard {file.filename} has a link in place of its {layout.name}: it is not followed")
        array = h5py.h5d.open(file.id, name)
        if array.shape != (rows, *layout.row) or not sound.is_plain(array, layout.dtype):
            raise DamageError(
                f"the shard {file.filename} belongs to another store: its {layout.name} are {array.dtype} "
                f"{array.shape}, not plain {layout.dtype} {(rows, *layout.row)}"
            )
        if new:
            try:
                sound.refuse_elsewhere(array, layout.name)
                chunk = (1, *layout.row) if layout.is_map else array.shape
                sound.check_chunks(array, layout.name, chunk, sound.PACKED if layout.is_map else sound.CHECKED)
            except ValueError as error:
                if is_of_the_system(error):
                    raise
                raise DamageError(f"the shard {file.filename} is not what was written: {error}") from error
        return array

    def _seen(self, number: int) -> _Seen:
        status = to_read(self._folder, shard_name(number)).stat()
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _path(self, number: int) -> Path:
        return self._folder / shard_name(number)
