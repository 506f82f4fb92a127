"""How is a large file read without copying it? Mapped into memory, without keeping a file descriptor for each.

Python's own `mmap` keeps a descriptor as long as the mapping lives (until 3.13), and a store of ImageNet has thousands
of objects, more than a process may open. So the system call is made directly.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_NO_MAPS = (errno.ENODEV, errno.ENOSYS, errno.EOPNOTSUPP)  # what file systems that map no files answer
_PART = 2**17  # bytes that are read together
_FAILED = ctypes.c_void_p(-1).value


class MemoryMap:
    """A file's bytes, in pages that every process which maps it shares.

    data:   the bytes
    copied: how many of them are in this process's own memory, because the file system maps no files: none or all

    The mapping lives as long as `data`, its slices, or arrays over them do: another thread may drop this object while
    they are read. The file may be replaced by another of its name, but must not be truncated: as with every mapping,
    the system kills a process (SIGBUS) that reads beyond the new end, or a part that the disk cannot read.
    """

    __slots__ = ("copied", "data")

    def __init__(self, path: Path, *, reading: Callable[[memoryview], object] | None = None) -> None:
        """Map a file.

        Args:
            path: path of the file.
            reading: is given the file's bytes, part by part, which are then read before they are mapped: what the disk
                cannot read is an OSError, and what it can is in the system's cache when the mapping looks for it. None:
                nothing is read.

        Raises:
            OSError: the file cannot be read, or is empty.
        """
        self.data: memoryview
        with path.open("rb", buffering=0) as file:
            if reading is not None:
                _read(file, path, reading)
            try:
                self.data, self.copied = np.asarray(_Pages(file, path)).data, 0
            except OSError as error:
                if error.errno not in _NO_MAPS:
                    raise
                parts: list[bytes] = []
                file.seek(0)
                _read(file, path, lambda part: parts.append(bytes(part)))
                self.data = memoryview(b"".join(parts))
                self.copied = len(self.data)


def _read(file: FileIO, path: Path, reading: Callable[[memoryview], object]) -> None:
    """Read a file to its end.

    Raises:
        OSError: the system cannot read it; the error names the file.
    """
    part = memoryview(bytearray(_PART))
    try:
        while count := file.readinto(part):
            reading(part[:count])
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


class _Pages:
    """The mapped pages, which numpy reads in place and keeps: an array over them has this object as its base."""

    __slots__ = ("__array_interface__",)

    def __init__(self, file: FileIO, path: Path) -> None:
        size = os.fstat(file.fileno()).st_size
        # Private, because several network and FUSE mounts refuse shared mappings. Pages that nobody writes to are
        # shared all the same.
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_PRIVATE, file.fileno(), 0)
        if address == _FAILED:  # also where the file is empty
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
        is_read_only = True
        self.__array_interface__ = {"data": (address, is_read_only), "shape": (size,), "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        if (known := getattr(self, "__array_interface__", None)) is not None:  # else nothing was mapped
            _libc.munmap(known["data"][0], known["shape"][0])
