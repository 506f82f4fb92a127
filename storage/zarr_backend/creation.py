"""How is a Zarr store created? Its address is claimed, metadata and columns are written, and the claim is removed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from storage.errors import NotAStoreError, StoreError, not_empty
from storage.header import Header, stored_targets
from storage.keys import key_index
from storage.keys.key import blocks, hash_sound_keys
from storage.schema import Schema
from storage.zarr_backend.backend import ZarrBackend
from storage.zarr_backend.bucket import in_short
from storage.zarr_backend.layout import (
    COLUMN_CHUNK,
    DIGESTS,
    ROOT,
    SLOTS,
    arrays,
    as_text,
    documents,
    read_root,
    root_document,
)
from storage.zarr_backend.metadata import largest_root
from storage.zarr_backend.objects import Objects


def create(address: str, schema: Schema, keys: Sequence[str], targets: Sequence[int] | None = None) -> ZarrBackend:
    """Write all metadata of a new store, or open the equal one that exists.

    Any number of processes may do so at the same time: the first claims the address, those with the same schema and
    keys write the same bytes, and the others are refused.

    Raises:
        MismatchError: another store of label maps exists there.
        NotAStoreError: something else exists there.
        StoreError: a key is not valid, or the address is not writable.
    """
    objects = Objects(address, writable=True)
    try:
        if (store := find(address)) is not None:
            store.check_same(schema, keys)
            return store
        _write_store(objects, schema, keys, targets)
        return ZarrBackend(address, writable=True)
    except objects.errors as error:
        raise StoreError(f"cannot write the store {address}: {in_short(error)}") from error


def find(address: str) -> ZarrBackend | None:
    """The store that exists there, for writing, or None where a new one can be made, or its creation was not finished.

    Raises:
        NotAStoreError: something else exists there.
    """
    objects = Objects(address, writable=True)
    found = read_root(objects)
    if found is None and objects.holds_any():
        found = read_root(objects)  # another process may have made it meanwhile
        if found is None:
            raise not_empty(address)
    if found is None:
        return None
    _, creating = found
    return None if creating else ZarrBackend(address, writable=True)


def _write_store(objects: Objects, schema: Schema, keys: Sequence[str], targets: Sequence[int] | None) -> None:
    own = stored_targets(targets, len(keys))
    keys_sha256 = hash_sound_keys(keys)
    salt, digests, slots = key_index.build(keys)
    made = Header.of(schema, keys_sha256, own, salt)
    mine = made.check_readable(largest_root(made), objects.address)
    objects.make_root()
    objects.set_new(ROOT, as_text(root_document(mine, creating=True)))
    claimed = read_root(objects)
    # Another process may have been first. Its header may differ from this one in the provenance only, otherwise this
    # process is refused.
    if claimed is None or claimed[0] != mine:
        raise NotAStoreError(
            f"a store with other settings or pictures is being created at {objects.address}, or its "
            "creation was interrupted; it holds no labels. Remove it, or give another address"
        )
    header = claimed[0]
    for name, data in documents(header).items():
        objects.set(name, data)
    columns = arrays(header, objects.zarr)
    # One chunk after the other: zarr-python makes a second copy of all bytes that it is given at once.
    for number, block in enumerate(blocks(keys, COLUMN_CHUNK)):
        start = number * COLUMN_CHUNK
        columns["keys"][start : start + len(block)] = np.array(block, np.dtypes.StringDType())
    for name, values in (("targets", own), (DIGESTS, digests), (SLOTS, slots)):
        (step,) = columns[name].chunks
        for start in range(0, len(values), step):
            columns[name][start : start + step] = values[start : start + step]
    objects.set(ROOT, as_text(root_document(header)))
