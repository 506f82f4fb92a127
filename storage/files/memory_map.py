"""How is a large file read without copying it? Mapped into memory, without keeping a file descriptor for each.

Python's own `mmap` keeps a descriptor as long as the mapping lives (until 3.13), and a store of ImageNet has thousands
of objects, more than a process may open. So the system call is made directly.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value
_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.restype = ctypes.py_object
_view.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]
_READ_ONLY = 0x100  # PyBUF_READ


class MemoryMap:
    """A file's bytes, shared with every process that maps it. Slices of `data` must not outlive the mapping.

    The file may be replaced by another of its name, but must not be truncated: as with every mapping, the system
    kills a process that reads beyond the new end.

    Raises:
        OSError: the file cannot be read, or is empty.
    """

    __slots__ = ("_address", "data")

    def __init__(self, path: Path) -> None:
        self._address = None
        descriptor = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
            if address == _FAILED:  # also where the file is empty
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(path))
        finally:
            os.close(descriptor)
        self._address = address
        self.data: memoryview = _view(address, size, _READ_ONLY)

    def __del__(self) -> None:
        if self._address is not None:
            _libc.munmap(self._address, len(self.data))
