"""How does a part of a store become a store? Its keys are listed, and their rows are written as stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from storage.errors import KeyNotFoundError, StoreError
from storage.operations.gathering.gather import Gathered, Origins, gather
from storage.operations.progress import OnProgress, silent
from storage.operations.target import create_target, refuse_own_address
from storage.store import LabelStore


def select(source: LabelStore, keys: Sequence[str], address: str, *, on_progress: OnProgress = silent) -> Gathered:
    """Make a store of some pictures of a store; continue where an earlier call ended.

    Its rows are in the order of the keys. Its provenance says from which store they were selected.

    Args:
        source: the store.
        keys: the keys of the pictures, in the order of the new store.
        address: where the new store is to be made, or an unfinished one exists.
        on_progress: called at the beginning and after each shard.

    Raises:
        KeyNotFoundError: the source has no row for a key.
        StoreError: no key was given, a key was given twice, or the address cannot be used.
        MismatchError: the store at the address is of other labels or keys.
        DamageError: the source is damaged; what was written before stays.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store, open_store
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg", "dog/2.jpg"])
        ...     selected = select(source, ["dog/2.jpg"], f"{folder}/dogs.zarr")
        ...     list(open_store(selected.address).keys), selected.pending
        (['dog/2.jpg'], 1)
    """
    if not keys:
        raise StoreError(f"cannot select from {source.address}: no key was given; give one key on each line")
    refuse_own_address([source], address)
    found = [source.backend.key_index.find(key) for key in keys]
    if unknown := [key for key, row in zip(keys, found, strict=True) if row is None]:
        raise KeyNotFoundError(
            f"cannot select from {source.address}: it has no row for {len(unknown):,} of the {len(keys):,} keys, the "
            f"first is {unknown[0]!r}; keys are paths relative to the folder that was labelled, with / between their "
            "parts"
        )
    rows = np.array(found, np.int64)
    about = {
        "keys_sha256": source.header.keys_sha256,
        "pictures": len(source),
    }
    schema = replace(source.schema, provenance={**source.schema.provenance, "selected_from": about})
    targets = source.targets[rows]
    target = create_target(address, schema, keys, targets)
    return gather([source], Origins(source=np.zeros(len(rows), np.int64), row=rows), target, on_progress)
