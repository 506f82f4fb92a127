"""How does a shard that others may write too come to be one writer's? Whoever writes it looks at it afterwards."""

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
    objects: Objects, name: str, parts: Mapping[str, bytes], record: Record, read: Callable[[], Record | None]
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
        read: reads the record that is there.

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
            found = read()
            if found is not None and all(objects.sha256(part) == digest for part, digest in found.objects.items()):
                return found
        time.sleep(random.uniform(0, 2**number) * (time.monotonic() - began))  # so that the writers meet no more
    raise StoreError(f"its objects were not there as they had been written, {_ROUNDS} times")
