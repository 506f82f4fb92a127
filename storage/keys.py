"""What may the key of a picture be? A relative path with / between its parts, which names something below a root."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from storage.errors import StoreError


def is_key(key: str) -> bool:
    """Whether the key names something below a root, and nothing beside or above it."""
    return "\0" not in key and not any(part in ("", ".", "..") for part in key.split("/"))


def check_keys(keys: Sequence[str]) -> None:
    """Refuse keys that cannot name the pictures of one collection.

    Raises:
        StoreError: a key is empty, repeated, absolute, not UTF-8, or climbs out of its root.
    """
    seen = set()
    for row, key in enumerate(keys):
        if not is_key(key):
            raise StoreError(
                f"row {row} has the key {key!r}; a key is a relative path with / between its parts and no empty part, "
                "no . and no .. among them"
            )
        if key in seen:
            raise StoreError(f"row {row} has the key {key!r} again; every key must name one picture")
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise StoreError(f"row {row} has the key {key!r}, which is not UTF-8; rename the file") from error
        seen.add(key)


def hash_keys(keys: Iterable[str]) -> str:
    """SHA-256 over the keys in UTF-8, each ended by a zero byte, which no key contains."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode() + b"\0")
    return digest.hexdigest()


def key_differences(stored: Sequence[str], keys: Sequence[str]) -> list[str]:
    """At most one sentence: how the keys of a run differ from those of a store."""
    if len(stored) != len(keys):
        sentence = f"keys: the store has {len(stored)}, this run has {len(keys)}"
        only = sorted(set(stored) ^ set(keys))
        where = "the store" if only and only[0] in set(stored) else "this run"
        return [
            f"{sentence}; {len(only)} are in only one of them, the first, {only[0]!r}, in {where}" if only else sentence
        ]
    for row, (mine, theirs) in enumerate(zip(stored, keys, strict=True)):
        if mine != theirs:
            return [f"keys: in row {row} the store has {mine!r}, this run has {theirs!r}"]
    return []
