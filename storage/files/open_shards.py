"""Which shards does a process keep mapped, of all stores that it reads? The last thousands: the kernel has a limit."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
_MOST = 8192  # shards of five mappings each; the kernel allows a process 65,530
_MOST_COPIED = 2**28  # bytes of files that could not be mapped


class OpenShards(dict[int, T]):
    """The open shards of one reader, by their numbers."""

    __slots__ = ("__weakref__",)


class _OfProcess:
    """The open shards of all readers of this process, in the order in which they were opened."""

    def __init__(self) -> None:
        self._order: OrderedDict[tuple[int, int], tuple[weakref.ref[OpenShards[Any]], int]] = OrderedDict()
        self._copied = 0
        self._change = Lock()
        os.register_at_fork(after_in_child=self._renew_lock)

    def add(self, reader: OpenShards[T], number: int, copied: int) -> None:
        """Note that a reader has opened a shard, with so many bytes copied; close those that were opened first."""
        with self._change:
            self._drop((id(reader), number), close=False)
            self._order[id(reader), number] = weakref.ref(reader), copied
            self._copied += copied
            while len(self._order) > _MOST or (self._copied > _MOST_COPIED and len(self._order) > 1):
                self._drop(next(iter(self._order)), close=True)

    def _drop(self, which: tuple[int, int], *, close: bool) -> None:
        known = self._order.pop(which, None)
        if known is None:
            return
        reference, copied = known
        self._copied -= copied
        if close and (reader := reference()) is not None:
            reader.pop(which[1], None)

    def _renew_lock(self) -> None:
        """Another thread may have held it when this process was forked."""
        self._change = Lock()


open_shards = _OfProcess()
