"""How is a shard written, so that a killed writer takes no labels, and two writers at once leave those of one?

A reader beside them looks at the record again before it calls the shard damaged.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import TypeVar

from storage.backend import LOOKS
from storage.errors import DamageError, StoreError, cannot_write
from storage.record import Record
from storage.zarr_backend.bucket import in_short
from storage.zarr_backend.objects import Objects
from storage.zarr_backend.shard_writer import string_object

T = TypeVar("T")
_ROUNDS = 6  # attempts to write a shard while other processes write it too


def commit(
    objects: Objects, name: str, parts: Mapping[str, bytes], record: Record, confirmed: Callable[[], Record | None]
) -> Record:
    """Write the objects of a shard, then its record; returns the record that the store has in the end.

    The last bits of labels may differ between devices, so classes from one writer and scores from another do not make a
    valid label. A record has the SHA-256 of its writer's objects. If the objects in the store do not match it, two
    writers have written at once, and each that notices writes all its objects again. The writer that checks last finds
    the objects of one single writer, which may be another.

    In a folder all objects are on the disk before an older record is removed; after that they only get their names. So
    no labels are lost for lack of space, or if a writer is killed, but for the short time in which it renames. A bucket
    renames nothing: there, a shard that is replaced is pending until all of it is written.

    Args:
        objects: the objects of the store.
        name: name of the object that holds the record.
        parts: the shard's objects, by name.
        record: the commit record, which has their SHA-256.
        confirmed: returns the record in the store if the objects in the store match it, otherwise None.

    Raises:
        StoreError: a request failed, or other processes replaced the objects in every attempt. It says whether labels
            that were there may be gone.
    """
    written = {**parts, name: string_object(record.to_text())}  # the record last
    begun = False
    try:
        for number in range(_ROUNDS):
            start = time.monotonic()
            with ExitStack() as unfinished:
                ready = {part: unfinished.enter_context(objects.prepared(part, written[part])) for part in written}
                begun = True
                objects.delete(name)  # no record may confirm an object that is being replaced
                for part in ready:
                    objects.set(part, ready[part])
            with suppress(DamageError):
                if (found := confirmed()) is not None:
                    return found
            time.sleep(random.uniform(0, 2**number) * (time.monotonic() - start))  # so that writers do not meet again
        raise StoreError(f"other processes wrote it too: in {_ROUNDS} attempts, none of them stayed as it was written")
    except StoreError as error:
        why = in_short(error.__cause__ or error)
        raise cannot_write(objects.address, range(record.start, record.stop), why, begun=begun) from error


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
