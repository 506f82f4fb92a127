"""What if two processes write one shard at once, and others read it? Each writer reads it again after writing, until it
is from one of them; a reader looks at the record again before it calls the shard damaged.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from storage.errors import DamageError, StoreError
from storage.files.atomic_file import refuse_full
from storage.record import Record
from storage.zarr_backend.objects import Objects
from storage.zarr_backend.shard_writer import string_object

T = TypeVar("T")
# Seconds after which a reader looks at a shard again. Where two wrote one shard all the time, 411 reads in 8 s found
# damage without these, 11 with the first, one with two and none with three.
LOOKS = (0.05, 0.2, 0.4)
_ROUNDS = 6  # attempts to write a shard while other processes write it too


def commit(
    objects: Objects, name: str, parts: Mapping[str, bytes], record: Record, confirmed: Callable[[], Record | None]
) -> Record:
    """Write the objects of a shard, then its record; returns the record that the store has in the end.

    The last bits of labels may differ between devices, so classes from one writer and scores from another do not make a
    valid label. A record has the SHA-256 of its writer's objects. If the objects in the store do not match it, two
    writers have written at once, and each that notices writes all its objects again. The writer that checks last finds
    the objects of one single writer, which may be another.

    Args:
        objects: the objects of the store.
        name: name of the object that holds the record.
        parts: the shard's objects, by name.
        record: the commit record, which has their SHA-256.
        confirmed: returns the record in the store if the objects in the store match it, otherwise None.

    Raises:
        StoreError: a request failed, or other processes replaced the objects in every attempt.
    """
    text = string_object(record.to_text())
    for number in range(_ROUNDS):
        began = time.monotonic()
        if objects.folder is not None and objects.has(name):  # else what is there would be lost for nothing
            with objects.explaining_errors("write", "the objects of a shard"):
                refuse_full(objects.folder, map(len, (*parts.values(), text)))
        objects.delete(name)  # no record may confirm an object that is being replaced
        for part, data in parts.items():
            objects.set(part, data)
        objects.set(name, text)
        with suppress(DamageError):
            if (found := confirmed()) is not None:
                return found
        time.sleep(random.uniform(0, 2**number) * (time.monotonic() - began))  # so that the writers do not meet again
    raise StoreError(f"other processes wrote it too: in {_ROUNDS} attempts, none of them stayed as it was written")


def check_still(recorded: Callable[[], Mapping[str, str]], check: Callable[[Mapping[str, str]], T]) -> T:
    """Check the objects of a shard against its record; again, a moment later, where they do not match.

    Args:
        recorded: returns the SHA-256 of the objects by name, as the record has them now.
        check: given these, reads the objects; what it returns is returned.

    Raises:
        DamageError: they still do not match: nobody is writing them.
        NotLabelledError: there is no record any more: a writer is replacing the shard.
    """
    for pause in LOOKS:
        with suppress(DamageError):
            return check(recorded())
        time.sleep(pause)
    return check(recorded())
