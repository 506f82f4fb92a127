"""What if the store itself becomes unavailable during a run? Then nothing is written elsewhere: the run waits."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from annotate.errors import AnnotateError
from annotate.images.waiting_reader import PATIENCE
from storage import LabelStore, NotAStoreError, StoreError, UnreadableError, open_store

T = TypeVar("T")
_POLL = 0.5


def open_when_there(address: str) -> LabelStore:
    """The store at this address, for writing: it was made before, so a worker that starts while it is away waits.

    Raises:
        AnnotateError: the store was away for so long. A worker that starts again would only wait once more.
        StoreError: the store is there, and cannot be used.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return open_store(address, writable=True)
        except (NotAStoreError, UnreadableError) as error:
            if time.monotonic() > deadline:
                raise AnnotateError(
                    f"a worker on {platform.node()} cannot open the store, and has tried for {PATIENCE:.0f} seconds: "
                    f"{error}. Is its disk or mount connected there, and does every machine of the cluster reach it at "
                    "this address? Nothing is lost: when it is there again, run the same command to continue"
                ) from error
        time.sleep(_POLL)


def when_there(store: LabelStore, do: Callable[[], T], *, abandoned: Event | None = None) -> T:
    """What `do` returns. If it fails, or ends, while the store is away, it is called again once the store is back.

    Args:
        store: that `do` reads or writes.
        do: may be called more than once.
        abandoned: ends the wait when it is set.

    Raises:
        StoreError: the store was away for so long.
        Exception: what `do` raised while the store was there.
    """
    while True:
        try:
            found = do()
        except StoreError:
            if store.backend.is_there():
                raise
        else:
            if store.backend.is_there():
                return found
        _wait(store, abandoned or Event())


def _wait(store: LabelStore, abandoned: Event) -> None:
    deadline = time.monotonic() + PATIENCE
    while not store.backend.is_there():
        if abandoned.wait(_POLL) or time.monotonic() > deadline:
            raise StoreError(
                f"the store {store.address} has been away for {PATIENCE:.0f} seconds: its folder, or its own header in "
                "it, is not there. Is its disk or mount still connected? Nothing is lost: when it is there again, run "
                "the same command to continue"
            )
