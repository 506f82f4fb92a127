"""What describes a store before any row is read? Its header: one JSON object, sealed by its SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from storage import json_fields as fields
from storage.errors import DamageError, FormatError, StoreError
from storage.schema import MOST_ROWS, Schema

FORMAT = 1
MOST_SHARDS = 2**22
ATTRIBUTE, SEAL = "tokenlabel", "tokenlabel:sha256"  # the attributes that hold it and its seal


@dataclass(frozen=True, kw_only=True, repr=False)
class Header:
    """What is fixed when a store is made, but for the names of classes.

    schema:         what all its label maps share
    rows:           how many pictures it has, labelled or not
    keys_sha256:    over all keys in order, see `storage.keys.key.hash_keys`
    key_salt:       of the digests in its key index, see `storage.keys.key_index`
    targets_sha256: over the dataset's own classes as little-endian int32
    """

    schema: Schema
    rows: int
    keys_sha256: str
    key_salt: int
    targets_sha256: str

    def __repr__(self) -> str:
        """Its rows, and what they share."""
        return f"Header({self.rows} rows, {self.schema!r})"

    def is_of_the_same_store(self, other: Header) -> bool:
        """Whether both are of one store, whose classes may have got other names meanwhile."""
        mine, its = (replace(one, schema=replace(one.schema, class_names=None)) for one in (self, other))
        return mine == its

    @property
    def shard_count(self) -> int:
        """How many shards the rows form."""
        return -(-self.rows // self.schema.rows_per_shard)

    def shards(self) -> list[range]:
        """The rows of each shard."""
        return self.schema.shards(self.rows)

    def rows_of(self, shard: int) -> range:
        """The rows of one shard; `shards` makes a list of all."""
        start = shard * self.schema.rows_per_shard
        return range(start, min(start + self.schema.rows_per_shard, self.rows))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives an equal header back."""
        return {
            "format": FORMAT,
            "rows": self.rows,
            "keys_sha256": self.keys_sha256,
            "key_salt": self.key_salt,
            "targets_sha256": self.targets_sha256,
            "schema": self.schema.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], seal: object, address: str) -> Self:
        """The header of `to_json`'s values, if the seal is theirs.

        Raises:
            FormatError: the values are of a newer format.
            DamageError: they are not what was written.
        """
        found = values.get("format")
        if isinstance(found, bool) or found != FORMAT:
            raise FormatError(
                f"cannot read the store {address}: its format is {found}, this version of tokenlabel reads format "
                f"{FORMAT}. Install a version of tokenlabel that reads it."
            )
        try:
            fields.json_object(values, "it")
        except ValueError as error:
            raise DamageError(f"the header of {address} is not one of format {FORMAT}: {error}") from error
        if seal_of(values) != seal:
            raise DamageError(f"the header of {address} is not the one that was written: its SHA-256 does not match")
        try:
            # What a later version has added may be ignored in this format.
            header = cls(
                schema=Schema.from_json(fields.json_object(values.get("schema"), "schema")),
                rows=fields.whole_number(values, "rows", 0, MOST_ROWS),
                keys_sha256=fields.sha256(values, "keys_sha256"),
                key_salt=fields.whole_number(values, "key_salt", 0, 2**128 - 1),
                targets_sha256=fields.sha256(values, "targets_sha256"),
            )
            if header.shard_count > MOST_SHARDS:
                raise ValueError(
                    f"it says that there are {header.shard_count:,} shards; at most {MOST_SHARDS:,} are read"
                )
        except (FormatError, ValueError) as error:
            raise DamageError(f"the header of {address} is not one of format {FORMAT}: {error}") from error
        return header

    def check_readable(self, document: bytes, address: str) -> Header:
        """Check that readers will take this header, before it is written, and return it as they will find it.

        Args:
            document: all that is to be written with it, as JSON.
            address: of the store.

        Raises:
            StoreError: they would refuse it.
        """
        values = self.to_json()
        try:
            fields.parsed(document)
            return Header.from_json(values, seal_of(values), address)
        except (DamageError, RecursionError, ValueError) as error:
            raise StoreError(
                f"cannot write the header of {address}, since it could not be read again: {error}. Make the shards "
                "larger if there are too many; otherwise leave out names of classes, or parts of recipe and provenance"
            ) from error

    @classmethod
    def of(cls, schema: Schema, keys_sha256: str, targets: NDArray[np.int32], key_salt: int) -> Self:
        """The header of a new store, which has a target for each row."""
        return cls(
            schema=schema,
            rows=len(targets),
            keys_sha256=keys_sha256,
            key_salt=key_salt,
            targets_sha256=hash_targets(targets),
        )


def stored_targets(targets: Sequence[int] | None, rows: int) -> NDArray[np.int32]:
    """The dataset's own class of each row as int32, -1 where there is no class.

    Raises:
        StoreError: their number is not that of the rows.
    """
    own = np.full(rows, -1, np.int32) if targets is None else np.asarray(targets, np.int32)
    if own.shape != (rows,):
        raise StoreError(f"cannot make a store of {rows} rows with {len(own)} targets; give one for each row, or none")
    return own


def hash_targets(targets: NDArray[np.int32]) -> str:
    """SHA-256 over the targets as little-endian int32."""
    return hashlib.sha256(np.ascontiguousarray(targets, "<i4").data).hexdigest()


def seal_of(values: Mapping[str, Any]) -> str:
    """SHA-256 over the JSON text of the values: sorted keys, no spaces, everything beyond ASCII escaped.

    Whole numbers are written without a fraction, as some tools do when they copy JSON: 1 and 1.0 give one seal.
    """
    return hashlib.sha256(json.dumps(_whole(values), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _whole(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
