"""How is a store made that others are written into? Outside of them, and with their classes of the dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from storage.backends import absolute, create_store
from storage.errors import MismatchError, StoreError
from storage.header import hash_targets
from storage.schema import Schema
from storage.store import LabelStore


def lies_inside(address: str, source: LabelStore) -> bool:
    """Whether an address is that of a store, or inside its folder."""
    return f"{absolute(address)}/".startswith(f"{absolute(source.address).rstrip('/')}/")


def refuse_own_address(sources: Sequence[LabelStore], address: str) -> None:
    """Check that a new store is not to be made inside one of those that it is made of.

    Raises:
        StoreError: it is.
    """
    for source in sources:
        if lies_inside(address, source):
            raise StoreError(
                f"cannot write {address}: it is inside the store {source.address}, which is read; give an address "
                "outside it"
            )


def create_target(
    address: str, schema: Schema, keys: Sequence[str], targets: NDArray[np.int32], *, made_of: str = "source"
) -> LabelStore:
    """Make a store with these keys and targets, or open the unfinished one that exists.

    Args:
        address: of the store.
        schema: of the store.
        keys: of its pictures.
        targets: int32 [rows], the class of the dataset of each picture.
        made_of: how an error calls the stores that it is made of.

    Raises:
        StoreError: the address cannot be used.
        MismatchError: the store at the address has another schema, other keys or other targets.
    """
    target = create_store(address, schema, keys, targets.tolist())
    if target.header.targets_sha256 != hash_targets(targets):
        raise MismatchError(address, [f"targets: the store has other classes of the dataset than the {made_of}"])
    return target
