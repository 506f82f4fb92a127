"""How does an HDF5 store come to be? One file is made whole; who links it to its name first has made the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storage import key_index
from storage.errors import StoreError, not_empty
from storage.hdf5_layout import SHARDS, STORE, read_header, store_file
from storage.hdf5_store import Hdf5Store
from storage.header import Header, targets_at_rest
from storage.keys import hash_sound_keys
from storage.schema import Schema
from storage.store import refuse_differences
from storage.whole_file import PARTIAL, sweep, write_whole


def create(address: str, schema: Schema, keys: Sequence[str], targets: Sequence[int] | None = None) -> Hdf5Store:
    """Make a store, or open the equal one that is there.

    Any number of processes may do so at once: one makes it, all that agree with it open it, and all that do not are
    refused.

    Raises:
        MismatchError: another store of label maps is there.
        NotAStoreError: something else is there.
        StoreError: the keys are no keys, or the place is not writable.
    """
    folder = Path(address)
    try:
        store, mine = find(address), None
        if store is None:
            mine = _lay_down(folder / STORE, schema, keys, targets)
            store = Hdf5Store(address, writable=True)
        (folder / SHARDS).mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write the store {address}: {error}") from error
    if store.header != mine:  # it was there, or another process was first
        refuse_differences(store, schema, keys)
    return store


def find(address: str) -> Hdf5Store | None:
    """The store that is there, for writing, or None where a new one can be made.

    Raises:
        NotAStoreError: something else is there.
    """
    folder = Path(address)
    try:
        # Listed first: what another process makes afterwards is its store, not something else.
        there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise StoreError(f"cannot read the store {address}: {error}") from error
    if read_header(folder, address) is not None:
        return Hdf5Store(address, writable=True)
    if any(not (name.startswith(f"{STORE}.") and name.endswith(PARTIAL)) for name in there):
        raise not_empty(address)
    return None


def _lay_down(path: Path, schema: Schema, keys: Sequence[str], targets: Sequence[int] | None) -> Header:
    own = targets_at_rest(targets, len(keys))
    keys_sha256 = hash_sound_keys(keys)
    salt, digests, slots = key_index.build(keys)
    header = Header.of(schema, keys_sha256, own, salt)
    data = store_file(header, keys, own, (digests, slots))
    try:
        write_whole(path, data, new=True)
        sweep(path)  # whoever is still at it comes too late
    except OSError:
        if not path.exists():  # else another was first, and may have swept
            raise
    return header
