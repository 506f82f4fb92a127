"""Which backend answers for an address? It is imported only when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from storage.errors import StoreError
from storage.schema import Schema
from storage.store import LabelStore


def create_store(
    address: str | os.PathLike[str], schema: Schema, keys: Sequence[str], targets: Sequence[int] | None = None
) -> LabelStore:
    """Make the store of these keys at this address, or open the equal one that is there, for writing.

    Args:
        address: a local folder, which becomes a Zarr v3 group.
        schema: what all label maps share.
        keys: the key of each row.
        targets: the data set's own class of each row, or -1.

    Raises:
        MismatchError: the store that is there has another schema or other keys; each difference is named.
        StoreError: the address cannot be used, or the keys are no keys.
    """
    from storage.zarr_store import create

    return create(_local(address), schema, keys, targets)


def open_store(address: str | os.PathLike[str], *, writable: bool = False) -> LabelStore:
    """Open the store at this address.

    Raises:
        NotAStoreError: nothing is there, or something else.
        FormatError: the store has a format that this version does not read.
    """
    from storage.zarr_store import ZarrStore

    return ZarrStore(_local(address), writable=writable)


def find_store(address: str | os.PathLike[str]) -> LabelStore | None:
    """The store at this address, for writing, or None where a new one can be made.

    Raises:
        NotAStoreError: something else is there.
        FormatError: the store has a format that this version does not read.
    """
    from storage.zarr_store import find

    return find(_local(address))


def _local(address: str | os.PathLike[str]) -> Path:
    text = os.fspath(address)
    if "://" in text:
        raise StoreError(f"cannot use the address {text}: this version keeps stores in local folders only")
    return Path(text)
