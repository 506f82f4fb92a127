"""How is a file open once in each process? On first use; it stays behind where its reader is pickled or forked."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Opened(Generic[T]):
    """The one thing that was opened last: a file, or what was read from it. Threads may share it.

    Whoever was given it keeps it alive, so it is closed when it was replaced and its last user is done.
    """

    __slots__ = ("_change", "_last", "_process")
    _change: Lock
    _last: tuple[Hashable, T] | None
    _process: int

    def __init__(self) -> None:
        self._start()

    def get(self, name: Hashable, make: Callable[[], T]) -> T:
        """What was opened under this name if that was the last one, and else what `make` opens now."""
        if self._process != os.getpid():
            self._start()  # the lock too: a thread of the parent may have held it, and does not live here
        with self._change:
            last = self._last
            if last is None or last[0] != name:
                self._last = None  # closed before another is opened: there is never more than one without a user
                last = self._last = (name, make())
            return last[1]

    def __reduce__(self) -> tuple[type[Opened[T]], tuple[()]]:
        """Nothing open travels."""
        return type(self), ()

    def _start(self) -> None:
        self._last = None
        self._change = Lock()
        self._process = os.getpid()
