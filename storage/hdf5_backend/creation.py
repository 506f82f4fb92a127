"""How is an HDF5 store created? One file is written whole; the first process to link it to its name is the creator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storage.errors import StoreError, cannot_make, not_empty
from storage.files.atomic_file import PARTIAL, remove_leftovers, write_atomically
from storage.files.contained import is_of_the_system
from storage.hdf5_backend.backend import Hdf5Backend
from storage.hdf5_backend.layout import SHARDS, STORE, header_text, read_header, store_file
from storage.header import Header, stored_targets
from storage.keys import key_index
from storage.keys.key import hash_sound_keys
from storage.schema import Schema


def create(address: str, schema: Schema, keys: Sequence[str], targets: Sequence[int] | None = None) -> Hdf5Backend:
    """Make a store, or open the equal one that exists.

    Any number of processes may do so at the same time: one creates the store, those with the same schema and keys open
    it, and the others are refused.

    Raises:
        MismatchError: another store of label maps exists there.
        NotAStoreError: something else exists there.
        StoreError: a key is not valid, or the address is not writable.
    """
    folder = Path(address)
    try:
        store, mine = find(address), None
        if store is None:
            mine = _write_store(folder / STORE, schema, keys, targets)
            store = Hdf5Backend(address, writable=True)
        (folder / SHARDS).mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_make(address, error) from error
    if store.header != mine:  # it existed, or another process was first
        store.check_same(schema, keys)
    return store


def find(address: str) -> Hdf5Backend | None:
    """The store that exists there, for writing, or None where a new one can be made.

    Raises:
        NotAStoreError: something else exists there.
    """
    folder = Path(address)
    try:
        # Listed first, so that a store that another process makes afterwards is not taken for other files.
        there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise StoreError(f"cannot read the store {address}: {error}") from error
    if read_header(folder, address) is not None:
        return Hdf5Backend(address, writable=True)
    own = (name for name in there if not is_of_the_system(name))
    if any(not (name.startswith(f"{STORE}.") and name.endswith(PARTIAL)) for name in own):
        raise not_empty(address)
    return None


def _write_store(path: Path, schema: Schema, keys: Sequence[str], targets: Sequence[int] | None) -> Header:
    own = stored_targets(targets, len(keys))
    keys_sha256 = hash_sound_keys(keys)
    salt, digests, slots = key_index.build(keys)
    made = Header.of(schema, keys_sha256, own, salt)
    header = made.check_readable(header_text(made), str(path.parent))
    data = store_file(header, keys, own, (digests, slots))
    try:
        write_atomically(path, data, new=True)
        remove_leftovers(path)  # of processes that are still writing: they were not the first
    except OSError:
        if not path.exists():  # otherwise another process was first, and may have removed this one's file
            raise
    return header
