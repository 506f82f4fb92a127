"""How does a shard that others may write too become one writer's? Each writer reads it again after its record."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from storage.errors import DamageError, StoreError
from storage.record import Record
from storage.zarr_backend.objects import Objects
from storage.zarr_backend.shard_writer import string_object

_ROUNDS = 6  # that a shard is written while other writers are at it


def commit(
    objects: Objects, name: str, parts: Mapping[str, bytes], record: Record, confirmed: Callable[[], Record | None]
) -> Record:
    """Write the objects of a shard, then its record; returns the record that is there in the end.

    The last bits of labels may differ between devices, so the classes of one writer and the scores of another are no
    label. The SHA-256 in a record are the mark of its writer: where the objects beside it are not those, two writers
    have met, and each that sees it writes all of its own again. The last of them to look finds what is one writer's,
    its own or another's.

    Args:
        objects: of the store.
        name: of the object that holds the record.
        parts: the shard's objects, by name.
        record: names their SHA-256.
        confirmed: the record that is in the store, if the objects beside it are those that it names.

    Raises:
        StoreError: a request failed, or what was written was never there afterwards.
    """
    for number in range(_ROUNDS):
        began = time.monotonic()
        objects.delete(name)  # no object is replaced while a record confirms another
        for part, data in parts.items():
            objects.set(part, data)
        objects.set(name, string_object(record.to_text()))
        with suppress(DamageError):
            if (found := confirmed()) is not None:
                return found
        time.sleep(random.uniform(0, 2**number) * (time.monotonic() - began))  # so that the writers do not meet again
    raise StoreError(f"after each of {_ROUNDS} writes, its objects were not those that had been written")
