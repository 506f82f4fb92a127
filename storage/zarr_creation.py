"""How does a Zarr store come to be? Its address is claimed, metadata and columns are laid down, the claim is lifted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from storage import key_index
from storage.errors import NotAStoreError, StoreError, not_empty
from storage.header import Header, targets_at_rest
from storage.keys import blocks, hash_sound_keys
from storage.objects import Objects, in_short
from storage.schema import Schema
from storage.store import refuse_differences
from storage.zarr_layout import COLUMN_CHUNK, DIGESTS, ROOT, SLOTS, arrays, as_text, documents, read_root, root_document
from storage.zarr_store import ZarrStore


def create(address: str, schema: Schema, keys: Sequence[str], targets: Sequence[int] | None = None) -> ZarrStore:
    """Lay down all metadata of a store, or open the equal one that is there.

    Any number of processes may do so at once: the first claims the address, all that agree with it lay down the same
    bytes, and all that do not are refused.

    Raises:
        MismatchError: another store of label maps is there.
        NotAStoreError: something else is there.
        StoreError: the keys are no keys, or the place is not writable.
    """
    objects = Objects(address, writable=True)
    try:
        if (store := find(address)) is not None:
            refuse_differences(store, schema, keys)
            return store
        _lay_down(objects, schema, keys, targets)
        return ZarrStore(address, writable=True)
    except objects.errors as error:
        raise StoreError(f"cannot write the store {address}: {in_short(error)}") from error


def find(address: str) -> ZarrStore | None:
    """The store that is there, for writing, or None where a new one can be made: nothing, or one half laid down.

    Raises:
        NotAStoreError: something else is there.
    """
    objects = Objects(address, writable=True)
    found = read_root(objects)
    if found is None:
        if objects.folder is not None and objects.folder.is_dir() and any(objects.folder.iterdir()):
            raise not_empty(address)
        return None
    _, creating = found
    return None if creating else ZarrStore(address, writable=True)


def _lay_down(objects: Objects, schema: Schema, keys: Sequence[str], targets: Sequence[int] | None) -> None:
    own = targets_at_rest(targets, len(keys))
    keys_sha256 = hash_sound_keys(keys)
    salt, digests, slots = key_index.build(keys)
    mine = Header.of(schema, keys_sha256, own, salt)
    objects.set(ROOT, as_text(root_document(mine, creating=True)), new=True)
    claimed = read_root(objects)
    # Another may have been first. Its header differs from this one in nothing but the provenance, or wins.
    if claimed is None or claimed[0] != mine:
        raise NotAStoreError(
            f"a store with other settings or pictures is being made at {objects.address}, or was begun and given up; "
            "it holds no labels. Remove it, or give another address"
        )
    header = claimed[0]
    for name, data in documents(header).items():
        objects.set(name, data)
    columns = arrays(header, objects.zarr)
    # One chunk after the other: of an array that it is given whole, zarr-python makes as many bytes again.
    for number, block in enumerate(blocks(keys, COLUMN_CHUNK)):
        start = number * COLUMN_CHUNK
        columns["keys"][start : start + len(block)] = np.array(block, np.dtypes.StringDType())
    for name, values in (("targets", own), (DIGESTS, digests), (SLOTS, slots)):
        (step,) = columns[name].chunks
        for start in range(0, len(values), step):
            columns[name][start : start + step] = values[start : start + step]
    objects.set(ROOT, as_text(root_document(header)))
