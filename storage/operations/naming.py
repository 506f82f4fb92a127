"""How do the classes of a finished store get other names? Its header is replaced; no label is written again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from storage.backend import Backend
from storage.errors import DamageError, StoreError
from storage.json_fields import MOST_BYTES, parsed
from storage.operations.manifest import sha256_of, update_manifest
from storage.operations.publication import CROISSANT
from storage.store import LabelStore


def name_classes(store: LabelStore, names: Sequence[str] | None) -> None:
    """Give the classes of a store other names, or none.

    The names are in the store's header, which is replaced atomically: a reader finds the old names or the new ones.
    Where the store is finalized, its description and its manifest then follow. If that is interrupted, `verify` names
    what does not match, and naming the classes again completes it. A program that has the store open keeps the names
    that it has read.

    Args:
        store: the store, opened for writing.
        names: one for each class, in the order of their numbers, or None.

    Raises:
        StoreError: there is not one name for each class, or the store cannot be written.
        DamageError: what all shards share is damaged: it would become part of a new header.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store, open_store
        >>> schema = Schema(grid=(7, 7), k=2, class_count=3, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg"])
        ...     name_classes(store, ["cat", "dog", "bird"])
        ...     open_store(f"{folder}/labels.zarr").schema.class_names
        ('cat', 'dog', 'bird')
    """
    backend = store.backend
    backend.check_writable()
    try:
        schema = replace(store.schema, class_names=None if names is None else tuple(names))
    except ValueError as error:
        raise StoreError(f"cannot name the classes of {store.address}: {error}") from error
    if problem := next(backend.problems(), None):
        raise DamageError(
            f"cannot name the classes of {store.address}: {problem}; `annotate verify --repair` writes it again"
        )
    changed = [backend.replace_header(replace(store.header, schema=schema))]
    store.header, store.schema = backend.header, backend.schema
    if (described := _described(backend)) is not None:
        described = _with_sha256(described, changed[0], sha256_of(store, changed[0]))
        backend.write_object(CROISSANT, json.dumps(described, indent=2, ensure_ascii=False).encode())
        changed.append(CROISSANT)
    update_manifest(store, changed)


def _described(backend: Backend) -> dict[str, Any] | None:
    """The Croissant description; None where there is none, or what is there is no JSON object."""
    try:
        text = backend.read_object(CROISSANT, most=MOST_BYTES)
        found = None if text is None else parsed(text)
    except (DamageError, RecursionError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _with_sha256(described: dict[str, Any], name: str, digest: str) -> dict[str, Any]:
    """A Croissant description with another SHA-256 of one file."""
    files = described.get("distribution")
    for entry in files if isinstance(files, list) else ():
        if isinstance(entry, dict) and entry.get("contentUrl") == name:
            entry["sha256"] = digest
    return described
