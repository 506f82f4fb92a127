"""Do the objects of a shard match its commit record? Their lengths and their SHA-256 are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from storage.encoding.coded_labels import Layout, layouts
from storage.errors import DamageError
from storage.schema import Schema
from storage.zarr_backend.objects import Objects
from storage.zarr_backend.shard_reader import has_length, most_bytes, object_name


def shard_digests(objects: Objects, schema: Schema, shard: int) -> dict[str, str]:
    """The SHA-256 of every object of a shard in the store now, by name; missing objects are left out.

    Raises:
        DamageError: an object does not have the right length.
        UnreadableError: an object cannot be read.
    """
    found = ((object_name(layout, shard), layout) for layout in layouts(schema))
    known = ((name, _digest(objects, layout, name, schema.rows_per_shard)) for name, layout in found)
    return {name: digest for name, digest in known if digest is not None}


def refuse_other(expected: Mapping[str, str], found: Mapping[str, str], address: str) -> None:
    """Compare the SHA-256 of the objects of a shard with those of its record.

    Raises:
        DamageError: they differ.
    """
    for name, digest in expected.items():
        if found.get(name) != digest:
            what = "is not the object that its commit record names" if name in found else "is missing"
            raise DamageError(f"{name} of {address} {what}; `annotate verify` lists all damage")


def _digest(objects: Objects, layout: Layout, name: str, rows: int) -> str | None:
    data = objects.get(name, most=most_bytes(layout, rows))
    if data is not None and not has_length(layout, rows, len(data)):
        raise DamageError(f"{name} of {objects.address} is truncated: it has {len(data):,} bytes")
    return None if data is None else hashlib.sha256(data).hexdigest()
