"""What may the key of a picture be? A relative path with / as separator, which names something below a root.

A key of a new store has at most 4,096 bytes of UTF-8, which is what Linux allows for a path. Readers bound what they
take for the keys of a store by it.

A collection may have a hundred million keys, and may make them on demand. So they are processed in blocks.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import DamageError, StoreError

KEYS_AT_ONCE = 65_536  # keys in memory at the same time
MOST_KEY_BYTES = 4096  # of a key in UTF-8, in a new store
_MOST_PER_CHARACTER = 4  # bytes
_MOST_SHOWN = 300  # characters of a key in an error


def is_key(key: str) -> bool:
    """Whether the key names something below a root, and nothing beside or above it."""
    return "\0" not in key and not any(part in ("", ".", "..") for part in key.split("/"))


def is_short(key: str) -> bool:
    """Whether a key that can be encoded has no more bytes than a key of a new store may have."""
    return len(key) * _MOST_PER_CHARACTER <= MOST_KEY_BYTES or len(key.encode()) <= MOST_KEY_BYTES


def shown_key(key: str) -> str:
    """The key in quotes for an error, shortened if it is very long."""
    words = repr(key)
    return words if len(words) <= _MOST_SHOWN else f"{words[:_MOST_SHOWN]}… ({len(key):,} characters)"


def blocks(keys: Sequence[str], size: int = KEYS_AT_ONCE) -> Iterator[list[str]]:
    """The keys in lists of so many; the last may be shorter."""
    return (list(keys[start : start + size]) for start in range(0, len(keys), size))


def check_keys(keys: Sequence[str]) -> None:
    """Check that the keys can name the pictures of one collection.

    Raises:
        StoreError: a key is empty, repeated, absolute, too long, not UTF-8, or climbs out of its root.
    """
    hashes, start = np.empty(len(keys), np.int64), 0
    for block in _sound_blocks(keys):
        hashes[start : start + len(block)] = list(map(hash, block))
        start += len(block)
    refuse_repeats(keys, hashes)


def refuse_repeats(keys: Sequence[str], digests: NDArray[Any]) -> None:
    """Check that no two keys are equal.

    Args:
        keys: the keys.
        digests: a number for each key; equal keys have equal numbers, others almost never.

    Raises:
        StoreError: two keys are equal; the error names the first row that repeats a key.
    """
    ordered = np.sort(digests)
    suspect = ordered[1:][ordered[1:] == ordered[:-1]]
    del ordered
    if not len(suspect):
        return
    # By sorting: numpy 2.0 fails where it chooses a table, since digests are larger than its signed integers.
    rows = np.flatnonzero(np.isin(digests, suspect, kind="sort"))
    rows = rows[np.argsort(digests[rows], kind="stable")]
    again = rows[1:][digests[rows[1:]] == digests[rows[:-1]]]
    for row in np.sort(again).tolist():  # usually the first; different keys share a digest once in 10^19 pairs
        key = keys[row]
        if any(keys[before] == key for before in np.flatnonzero(digests[:row] == digests[row]).tolist()):
            raise StoreError(f"row {row} has the key {key!r} again; every key must name one picture")


def hash_keys(keys: Sequence[str]) -> str:
    """SHA-256 over the keys in UTF-8, each ended by a zero byte, which no key contains."""
    return _sha256(blocks(keys))


def hash_sound_keys(keys: Sequence[str]) -> str:
    """The same, of keys that are checked first.

    Raises:
        StoreError: a key is empty, absolute, too long, not UTF-8, or climbs out of its root. Repeated keys are not
            detected.
    """
    return _sha256(_sound_blocks(keys))


def hash_stored_keys(keys: Sequence[str], address: str) -> str:
    """The same, of the keys of a store at this address, which may be anybody's, and as long as it was read.

    Raises:
        DamageError: a key is not valid.
    """
    try:
        return _sha256(_sound_blocks(keys, any_length=True))
    except StoreError as error:
        raise DamageError(f"the keys of {address} are not those of pictures: {error}") from error


def other_form(key: str, among: Callable[[str], bool]) -> str | None:
    """The key in another normal form of Unicode in which it is among others, or None.

    "é" is one character in the form NFC and two in NFD, and looks the same. Archives and file systems change the form.
    """
    forms = (unicodedata.normalize(form, key) for form in ("NFC", "NFD"))
    return next((form for form in forms if form != key and among(form)), None)


def why_unknown(key: str, is_known: Callable[[str], bool]) -> str:
    """The key that a store does not have, and what may be wrong with it."""
    if (other := other_form(key, is_known)) is not None:
        return f"{key!a}, but one for {other!a}: one name in two forms of Unicode, which look the same"
    return f"{key!r}; keys are paths relative to the folder that was labelled, with / between their parts"


def key_differences(stored: Sequence[str], keys: Sequence[str]) -> list[str]:
    """At most one sentence: how the keys of a run differ from those of a store."""
    if len(stored) != len(keys):
        sentence = f"keys: the store has {len(stored)}, this run has {len(keys)}"
        known = set(stored)
        if not (only := known ^ set(keys)):
            return [sentence]
        first = min(only)
        where = "the store" if first in known else "this run"
        return [f"{sentence}; {len(only)} are in only one of them, the first, {first!r}, in {where}"]
    known = set(keys)
    for key in stored:
        if key not in known and (other := other_form(key, known.__contains__)) is not None:
            return [
                f"keys: the store has {key!a}, this run has {other!a}: one name in two forms of Unicode, "
                "which look the same. Give the files the names that they had, for example by `convmv -f utf8 -t utf8 "
                f"--{'nfc' if unicodedata.is_normalized('NFC', key) else 'nfd'} -r --notest`"
            ]
    for row, (mine, theirs) in enumerate(zip(stored, keys, strict=True)):
        if mine != theirs:
            return [f"keys: in row {row} the store has {mine!r}, this run has {theirs!r}"]
    return []


def _sha256(parts: Iterable[Sequence[str]]) -> str:
    digest = hashlib.sha256()
    for block in parts:
        digest.update("\0".join([*block, ""]).encode())
    return digest.hexdigest()


def _sound_blocks(keys: Sequence[str], *, any_length: bool = False) -> Iterator[list[str]]:
    """The keys in blocks, checked; those of older stores may have any length.

    Raises:
        StoreError: a key is not valid.
    """
    start = 0
    for block in blocks(keys):
        if not _is_sound(block) or not (any_length or all(map(is_short, block))):
            _refuse(start, block)
        yield block
        start += len(block)


def _is_sound(block: Sequence[str]) -> bool:
    """Whether all of them are keys in UTF-8: `is_key` of each, several times as fast."""
    text = "/".join(["", *block, ""])
    if any(part in text for part in ("\0", "//", "/./", "/../")):
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(start: int, block: Sequence[str]) -> None:
    """Name the first key of a block that is not valid; the block starts at this row.

    Raises:
        StoreError: always.
    """
    for row, key in enumerate(block, start):
        if not is_key(key):
            raise StoreError(
                f"row {row} has the key {shown_key(key)}; a key is a relative path with parts separated by /; no "
                "part may be empty, '.' or '..'"
            )
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise StoreError(f"row {row} has the key {shown_key(key)}, which is not UTF-8; rename the file") from error
        if not is_short(key):
            raise StoreError(
                f"row {row} has the key {shown_key(key)}, which has {len(key.encode()):,} bytes; a key may have "
                f"{MOST_KEY_BYTES:,}, as a path in Linux: give the picture a shorter name"
            )
