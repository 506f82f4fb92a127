"""Where are the objects of remote stores kept? In a folder of this machine, which has a limit.

TOKENLABEL_CACHE     the folder; default: tokenlabel in XDG_CACHE_HOME, or in ~/.cache
TOKENLABEL_CACHE_GB  its limit in gigabytes; default: 50
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import final

from storage.errors import StoreError

_GIGABYTES = 50.0
_IN_USE = 60.0  # seconds after its last use in which an object is not removed: it may be about to be mapped
_LEFT = 0.9  # of the limit, once what was used least recently has been removed


def folder() -> Path:
    """The folder of all that is kept."""
    if named := os.environ.get("TOKENLABEL_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokenlabel"


def is_usable() -> bool:
    """Whether the folder can be written."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: nobody knows the home folder
        return False
    return os.access(folder(), os.W_OK | os.X_OK)


def limit() -> int:
    """The limit in bytes.

    Raises:
        StoreError: the variable is not a number above 0.
    """
    text = os.environ.get("TOKENLABEL_CACHE_GB", "")
    try:
        gigabytes = float(text or _GIGABYTES)
    except ValueError:
        gigabytes = math.nan
    if not (gigabytes > 0 and math.isfinite(gigabytes)):
        raise StoreError(
            f"cannot use the cache: TOKENLABEL_CACHE_GB is {text!r}; set it to a number above 0, such as 50"
        )
    return int(gigabytes * 1e9)


@final
class Room:
    """Keeps a folder below its limit: what was used least recently is removed. Other processes may do the same."""

    def __init__(self, root: Path, most: int) -> None:
        """Args: the folder, and its limit in bytes."""
        self._root, self._most = root, most
        self._bytes: int | None = None  # as far as this process knows
        self._change = Lock()

    def add(self, count: int) -> None:
        """Note that so many bytes were written, and remove others if they are too many."""
        with self._change:
            if self._bytes is None or self._bytes + count > self._most:
                self._bytes = self._shrink()
            else:
                self._bytes += count

    def _shrink(self) -> int:
        """Remove what was used least recently, if there is too much; the bytes that are left."""
        found: list[tuple[float, int, str]] = []
        for above, _, names in os.walk(self._root):
            for name in names:
                path = os.path.join(above, name)
                with suppress(FileNotFoundError):
                    status = os.stat(path)
                    found.append((status.st_atime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self._most:
            return total
        now = time.time()
        for used, size, path in sorted(found):
            if total <= self._most * _LEFT or now - used < _IN_USE:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= size
        return total


def touch(path: Path) -> None:
    """Note that a file is used now; its time of change stays."""
    status = path.stat()
    os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
