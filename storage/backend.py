"""What must a backend provide, so that a store can be built on it?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import Any, Literal, Self, final

import numpy as np
from numpy.typing import NDArray

from storage.encoding.coded_labels import CodedLabels
from storage.errors import DamageError, MismatchError, opened_for_reading
from storage.header import Header, hash_targets
from storage.keys.key import hash_sound_keys, hash_stored_keys, key_differences
from storage.keys.key_index import KeyIndex
from storage.record import Failure, Record
from storage.schema import Schema

RowArray = Literal["boxes", "sizes", "status"]
MOST_BYTES = 2**30  # largest object that is read whole, where no smaller limit is known
# Seconds after which a shard that is not what its record says is looked at again, as two processes may be writing it.
# Where they did all the time, 411 reads in 8 s found damage; 11 with the first of these, one with two, none with three.
LOOKS = (0.05, 0.2, 0.4)
SET_ASIDE = "shards/set_aside"  # below it lies what a repair has taken out of a store, under 1/NAME, 2/NAME, …


class Backend(ABC):
    """Reads and writes the bytes of one store, as one storage format lays them out. `LabelStore` holds one.

    - A shard is written whole, by one writer, any number of times with the same result. Its commit record is written
      last; until then the shard is pending. Different shards may be written at the same time by different processes.
    - A backend is picklable: only its address travels. Reading is safe in forked and spawned processes.
    - It never returns bytes whose checksum does not match, nor those of another shard: it raises `DamageError`. What
      cannot be read, whatever it holds, is an `UnreadableError`. It touches nothing outside of its address.

    A subclass is final. Its constructor takes `(address, *, writable)`, and reads the header.
    """

    def __init__(self, address: str, header: Header, *, writable: bool, remote: bool = False) -> None:
        """Keep what was found at the address.

        Args:
            address: where the store is, as errors name it.
            header: the header found there.
            writable: whether the store may be changed.
            remote: whether requests are slow, so that many at the same time are faster than one after another.
        """
        self.address = address
        self.header = header
        self.writable = writable
        self.remote = remote
        self._committed: frozenset[int] = frozenset()  # shards seen committed

    @final
    def __reduce__(self) -> tuple[Any, ...]:
        """Only the address travels to another process: handles are opened there."""
        return _reopen, (type(self), self.address, self.writable)

    @final
    def __repr__(self) -> str:
        """Its class and its address."""
        return f"{type(self).__name__}({self.address!r})"

    @abstractmethod
    def load_keys(self) -> Sequence[str]:
        """The keys as stored, before their hash is checked.

        Raises:
            DamageError: they cannot be read.
        """

    @abstractmethod
    def load_targets(self) -> NDArray[np.int32]:
        """The targets as stored, before their hash is checked.

        Raises:
            DamageError: they cannot be read.
        """

    @abstractmethod
    def load_key_index(self) -> KeyIndex:
        """The table that finds rows by keys, mapped into memory where possible; `DamageError` if it cannot be read."""

    @abstractmethod
    def committed(self) -> frozenset[int]:
        """The numbers of the shards that have a commit record now."""

    @abstractmethod
    def written(self, shards: Collection[int]) -> dict[int, float]:
        """When their records were, in seconds since 1970 by the clock of the storage; those of none are left out."""

    @abstractmethod
    def record(self, shard: int) -> Record | None:
        """The commit record of a shard, or None if there is none yet.

        Raises:
            DamageError: there is one, but it cannot be read.
        """

    @abstractmethod
    def fetch(self, positions: Sequence[tuple[int, int]]) -> CodedLabels:
        """The labels at these positions, (number of a committed shard, row within it), as stored.

        Raises:
            DamageError: bytes are missing or do not match their checksum.
        """

    def fetch_one(self, shard: int, row: int) -> CodedLabels:
        """The label at one position, without the first axis. A backend that can do this faster overrides it."""
        return CodedLabels._make(part[0, ...] for part in self.fetch([(shard, row)]))

    @abstractmethod
    def fetch_rows(self, name: RowArray, shard: int) -> NDArray[Any]:
        """One of the small arrays, for all rows of a committed shard.

        Raises:
            DamageError: bytes are missing or do not match their checksum.
        """

    @abstractmethod
    def put(
        self, shard: int, labels: CodedLabels, *, failures: Sequence[Failure] = (), run: Mapping[str, Any] = {}
    ) -> Record:
        """Write the coded labels of one shard, then its commit record.

        Raises:
            StoreError: writing failed, or the store was opened for reading.
        """

    @final
    def forget(self, shard: int) -> None:
        """Make a shard pending again. What it held is not deleted but set aside."""
        for name in self.shard_objects(shard):
            self.set_aside(name)
        self._committed = frozenset()

    @final
    def set_aside(self, name: str) -> None:
        """Move an object below `SET_ASIDE`, where no reader looks; nothing where there is none.

        Raises:
            StoreError: it cannot be moved, or the store was opened for reading.
        """
        self.check_writable()
        places = (f"{SET_ASIDE}/{number}/{name}" for number in count(1))
        self.move_object(name, next(place for place in places if not self.has_object(place)))

    @abstractmethod
    def is_there(self) -> bool:
        """Whether its header is where it was opened: not on a mount that is gone, or in whose place another one is."""

    @abstractmethod
    def shard_objects(self, shard: int) -> list[str]:
        """The names of the objects of a shard, that of its commit record first."""

    @abstractmethod
    def owns(self, name: str) -> bool:
        """Whether an object of the store can have this name. Files of any other name may lie beside them."""

    @abstractmethod
    def has_object(self, name: str) -> bool:
        """Whether there is an object of this name."""

    @abstractmethod
    def move_object(self, name: str, to: str) -> None:
        """Give an object another name; nothing where there is none."""

    @abstractmethod
    def checksums(self, shard: int) -> dict[str, str]:
        """The SHA-256, in hexadecimal, of every object of this shard that is there, but its record, by its name."""

    def recorded(self, shard: int) -> tuple[Record | None, dict[str, str]]:
        """The commit record of a shard, and `checksums`. A backend that can read both at once overrides it."""
        record = self.record(shard)
        return record, {} if record is None else self.checksums(shard)

    @abstractmethod
    def problems(self) -> Iterator[str]:
        """One sentence for each fault in what all shards share, apart from header, keys and targets."""

    @abstractmethod
    def rebuild(self) -> None:
        """Write again what follows from the header and the keys alone: metadata and key index."""

    @abstractmethod
    def replace_header(self, header: Header) -> str:
        """Put a header of the same rows in the place of this one, atomically; returns the name of its object."""

    @abstractmethod
    def object_names(self) -> Iterator[str]:
        """The names of all objects, sorted, without what was set aside."""

    @abstractmethod
    def read_object(self, name: str, *, most: int = MOST_BYTES) -> bytes | None:
        """The bytes of an object, or None if it does not exist; `DamageError` if they are more than `most`."""

    @abstractmethod
    def write_object(self, name: str, data: bytes) -> None:
        """Write a whole object."""

    @abstractmethod
    def delete_object(self, name: str) -> None:
        """Remove an object, if it exists."""

    @abstractmethod
    def remove_leftovers(self) -> None:
        """Remove the unfinished files of writers that were killed. Nobody may be writing."""

    @abstractmethod
    def consolidate(self) -> None:
        """Make opening fast for others, now that nothing will change any more."""

    def release(self, shard: int) -> None:  # noqa: B027 most backends keep nothing
        """Free what is kept in memory for a shard that will not be read again soon."""

    @property
    @final
    def schema(self) -> Schema:
        """What all label maps share."""
        return self.header.schema

    @cached_property
    def keys(self) -> Sequence[str]:
        """The key of every row. Their SHA-256 is checked once, and that they are keys.

        Raises:
            DamageError: they are not what was written, or one is no key.
        """
        keys = self.load_keys()
        if hash_stored_keys(keys, self.address) != self.header.keys_sha256:
            raise self._not_what_was_written("keys")
        return keys

    @cached_property
    def targets(self) -> NDArray[np.int32]:
        """The dataset's own class of every row, or -1. Their SHA-256 is checked once.

        Raises:
            DamageError: they are not what was written.
        """
        targets = self.load_targets()
        if hash_targets(targets) != self.header.targets_sha256:
            raise self._not_what_was_written("targets")
        return targets

    @cached_property
    def key_index(self) -> KeyIndex:
        """The table that finds rows by keys, loaded once; `DamageError` if it cannot be read."""
        return self.load_key_index()

    @property
    @final
    def seen_committed(self) -> frozenset[int]:
        """The shards that `is_committed` has found so far, without a new request."""
        return self._committed

    @final
    def is_committed(self, shard: int) -> bool:
        """Whether a shard can be read. Shards that were seen committed are not looked up again."""
        if shard in self._committed:
            return True
        self._committed = self.committed()
        return shard in self._committed

    @final
    def check_writable(self) -> None:
        """Check that the store may be changed.

        Raises:
            StoreError: it was opened for reading.
        """
        if not self.writable:
            raise opened_for_reading(self.address)

    @final
    def check_same(self, schema: Schema, keys: Sequence[str]) -> Self:
        """Check that a run has the schema and the keys of this store. Its keys are loaded only to say how they differ.

        Raises:
            MismatchError: naming each field that differs.
            StoreError: a key is not valid.
        """
        differences = self.schema.differences(schema)
        if len(keys) != self.header.rows or hash_sound_keys(keys) != self.header.keys_sha256:
            differences += key_differences(self.keys, keys)
        if differences:
            raise MismatchError(self.address, differences)
        return self

    def _not_what_was_written(self, what: str) -> DamageError:
        why = "are not those that were written: their SHA-256 does not match"
        return DamageError(f"the {what} of {self.address} {why}")


def _reopen(backend: Any, address: str, writable: bool) -> Backend:
    return backend(address, writable=writable)
