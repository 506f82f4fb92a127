"""Which backend answers for an address? It is imported only when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec

from storage.errors import StoreError
from storage.schema import Schema
from storage.store import LabelStore


def create_store(
    address: str | os.PathLike[str], schema: Schema, keys: Sequence[str], targets: Sequence[int] | None = None
) -> LabelStore:
    """Make the store of these keys at this address, or open the equal one that is there, for writing.

    Args:
        address: a local folder, of HDF5 files if its name ends with .h5 or .hdf5, and else a Zarr v3 group.
        schema: what all label maps share.
        keys: the key of each row. It may make them when it is asked: what is asked for are slices of a few tens of
            thousands, one after the other, three or four times over.
        targets: the data set's own class of each row, or -1.

    Raises:
        MismatchError: the store that is there has another schema or other keys; each difference is named.
        StoreError: the address cannot be used, or the keys are no keys.
    """
    text = os.fspath(address)
    if _is_hdf5(text):
        from storage import hdf5_creation

        return hdf5_creation.create(text, schema, keys, targets)
    from storage import zarr_creation

    return zarr_creation.create(text, schema, keys, targets)


def open_store(address: str | os.PathLike[str], *, writable: bool = False) -> LabelStore:
    """Open the store at this address.

    Raises:
        NotAStoreError: nothing is there, or something else.
        FormatError: the store has a format that this version does not read.
    """
    text = os.fspath(address)
    if _is_hdf5(text):
        from storage.hdf5_store import Hdf5Store

        return Hdf5Store(text, writable=writable)
    from storage.zarr_store import ZarrStore

    return ZarrStore(text, writable=writable)


def find_store(address: str | os.PathLike[str]) -> LabelStore | None:
    """The store at this address, for writing, or None where a new one can be made.

    Raises:
        NotAStoreError: something else is there.
        FormatError: the store has a format that this version does not read.
    """
    text = os.fspath(address)
    if _is_hdf5(text):
        from storage import hdf5_creation

        return hdf5_creation.find(text)
    from storage import zarr_creation

    return zarr_creation.find(text)


def absolute(address: str | os.PathLike[str]) -> str:
    """The address as it is understood in every working folder of this machine."""
    text = os.fspath(address)
    return text if "://" in text else os.path.abspath(text)


def _is_hdf5(address: str) -> bool:
    """Whether this is the path of an HDF5 store, which h5py is there to open.

    Raises:
        StoreError: it is, and h5py is not there, or it is in a bucket.
    """
    if not address.rstrip("/").endswith((".h5", ".hdf5")):
        return False
    if "://" in address:
        raise StoreError("an HDF5 store is a local folder; in a bucket, give a Zarr store: s3://bucket/labels.zarr")
    if find_spec("h5py") is None:
        raise StoreError(f"cannot use the store {address}: HDF5 stores need h5py: pip install 'tokenlabel[hdf5]'")
    return True
