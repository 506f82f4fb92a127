"""How much private memory does a process have? As Linux counts it."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Private:
    """MB that only this process has: dirty pages, and clean pages of files that no other process maps now."""

    dirty: float
    clean: float

    @property
    def total(self) -> float:
        """Both."""
        return self.dirty + self.clean

    def __sub__(self, earlier: Private) -> Private:
        """The difference from an earlier measurement."""
        return Private(round(self.dirty - earlier.dirty, 3), round(self.clean - earlier.clean, 3))


def ballast() -> list[bytes]:
    """About 25 MB that fill the holes of the heap, which would hide growth: keep them while memory is compared."""
    small = [bytes(size) for size in range(16, 513, 16) for _ in range(2000)]
    return small + [bytes(600 * 2**power) for power in range(8) for _ in range(64)]


def private() -> Private:
    """The private memory of this process now, after a garbage collection.

    Raises:
        OSError: this is not Linux.
    """
    gc.collect()
    _, *lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    kilobytes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return Private(kilobytes["Private_Dirty"] * 1024 / 1e6, kilobytes["Private_Clean"] * 1024 / 1e6)


def peak() -> float:
    """MB: the peak memory of this process, shared or not.

    Unlike getrusage's, it does not include the memory of the process that started this one.

    Raises:
        OSError: this is not Linux.
    """
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
