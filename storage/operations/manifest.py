"""Is a published store complete? Its manifest lists every object with its SHA-256, in the format of `sha256sum`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

from storage.errors import DamageError, UnreadableError, too_large
from storage.files.contained import is_missing, is_of_the_system, to_read
from storage.remote.mirror import MANIFEST as MANIFEST
from storage.schema import MOST_BYTES_OF_SHARD
from storage.store import LabelStore

_MOST_MISSING = 16  # objects on a server, until the others are not asked for


def write_manifest(store: LabelStore) -> int:
    """List every object of a store in its manifest, and return how many there are.

    The objects of shards are not read again: their commit records have their SHA-256.
    """
    known = _recorded(store)
    lines = [f"{known.get(name) or sha256_of(store, name)}  {name}\n" for name in _names(store)]
    store.backend.write_object(MANIFEST, "".join(lines).encode())
    return len(lines)


def read_manifest(store: LabelStore) -> bytes | None:
    """The manifest of a store, or None. It has as many lines as there are objects, and some more.

    Raises:
        DamageError: it is longer.
    """
    return store.backend.read_object(MANIFEST, most=2**24 + 2**10 * len(store.committed()))


def update_manifest(store: LabelStore, changed: Collection[str]) -> None:
    """Bring the lines of these objects up to date, and no others; nothing if there is no manifest."""
    text = read_manifest(store)
    if text is None:
        return
    lines = []
    for line in text.decode(errors="replace").splitlines():
        _, _, name = line.partition("  ")
        lines.append(f"{sha256_of(store, name)}  {name}\n" if name in changed else f"{line}\n")
    store.backend.write_object(MANIFEST, "".join(lines).encode())


def differences(store: LabelStore) -> Iterator[str]:
    """One sentence for each object that is not what the manifest says; nothing if there is no manifest.

    A server lists nothing, so each object is a request, and a manifest may name any number that it does not have. After
    a few that are missing, no others are asked for, and one sentence says how many. The store's own come first.
    """
    text = read_manifest(store)
    if text is None:
        return
    listed: dict[str, str] = {}
    for line in text.decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    known, there = _recorded(store), set(_names(store))
    names, own = filter(is_shown, listed.keys() | there), store.backend.owns
    missing = not_asked = 0
    for name in sorted(names, key=lambda name: (not own(name), name)):
        if name not in listed:
            if own(name):  # beside its own files, others may lie in a store
                yield f"{name} is not listed in {MANIFEST}; `annotate finalize` writes the manifest again"
        elif name not in there:
            yield f"{name} is listed in {MANIFEST}, but missing in the store"
        elif name not in known and missing == _MOST_MISSING:
            not_asked += 1
        elif name not in known and store.backend.remote and store.backend.read_object(name) is None:
            missing += 1
            yield f"{name} is listed in {MANIFEST}, but missing in the store"
        elif listed[name] != (known.get(name) or sha256_of(store, name)):
            yield f"{name} is not what {MANIFEST} says; after an intended change, `annotate finalize` writes it again"
    if not_asked:
        yield f"{not_asked:,} more objects that {MANIFEST} lists were not asked for, as {missing} are missing"


def _recorded(store: LabelStore) -> dict[str, str]:
    """The SHA-256 of the objects of all shards, by their commit records."""
    known: dict[str, str] = {}
    for _, record in store.records_of(sorted(store.committed())):
        if isinstance(record, DamageError | UnreadableError):
            raise record
        known |= record.objects if record else {}
    return known


def _names(store: LabelStore) -> list[str]:
    """All objects, but the manifest itself and those that are hidden."""
    return [name for name in store.backend.object_names() if name != MANIFEST and is_shown(name)]


def is_shown(name: str) -> bool:
    """Whether no part of a name is one that hubs, version control, file managers or systems leave, most with a dot."""
    return not any(part.startswith(".") or is_of_the_system(part) for part in name.split("/"))


def unlistable(store: LabelStore) -> list[str]:
    """The names that no line of a manifest can hold: of more than one line, or not UTF-8."""
    return [name for name in _names(store) if name.splitlines() != [name] or not _is_utf8(name)]


def _is_utf8(name: str) -> bool:
    """Whether the system gave a name that is UTF-8: it has surrogates for the bytes that are not."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def sha256_of(store: LabelStore, name: str) -> str:
    """The SHA-256, in hexadecimal, of an object as it is now.

    Raises:
        DamageError: it is larger than any can be.
        UnreadableError: it cannot be read.
    """
    if not store.backend.remote:
        try:
            path = to_read(Path(store.address), name)
            if (size := path.stat().st_size) > MOST_BYTES_OF_SHARD:
                raise too_large(store.address, name, size, MOST_BYTES_OF_SHARD)
            with path.open("rb") as file:  # not read whole: beside a store's own, any file may lie
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            if not is_missing(error):
                raise UnreadableError(f"cannot read {name} of {store.address}: {error}") from error
    return hashlib.sha256(store.backend.read_object(name, most=MOST_BYTES_OF_SHARD) or b"").hexdigest()
