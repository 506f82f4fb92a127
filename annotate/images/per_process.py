"""How is a file opened once in each process? On first use; an open file is neither pickled nor used after a fork."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Opened(Generic[T]):
    """The last thing that was opened: a file, or what was read from it. Threads may share it.

    Its users hold references to it, so it is closed when it has been replaced and its last user is done.
    """

    __slots__ = ("_change", "_last", "_process")
    _change: Lock
    _last: tuple[Hashable, T] | None
    _process: int

    def __init__(self) -> None:
        self._start()

    def get(self, name: Hashable, make: Callable[[], T]) -> T:
        """What was opened under this name, if it was the last one; otherwise what `make` opens now."""
        if self._process != os.getpid():
            self._start()  # a new lock too: a thread of the parent may have held it, and does not exist here
        with self._change:
            last = self._last
            if last is None or last[0] != name:
                self._last = None  # closed before the next is opened, so at most one is open without a user
                last = self._last = (name, make())
            return last[1]

    def __reduce__(self) -> tuple[type[Opened[T]], tuple[()]]:
        """Pickled without what is open."""
        return type(self), ()

    def _start(self) -> None:
        self._last = None
        self._change = Lock()
        self._process = os.getpid()
