"""How are the objects of a published store read? Each is fetched when first needed, checked, and kept in a folder.

A web server lists nothing, so the manifest of a finalized store says which objects there are. It also has the SHA-256
of each: nothing else is ever kept. Stores with other manifests have other folders, so that a store that is published
again is never mixed with what was kept of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, final

from storage.errors import DamageError, NotAStoreError, StoreError, UnreadableError, too_large
from storage.keys.key import is_key
from storage.remote import cache
from storage.remote.address import headers_of, url_of
from storage.remote.kept import ATTEMPTS, Kept
from storage.schema import MOST_BYTES_OF_SHARD

MANIFEST = "MANIFEST.sha256"
_MOST_BYTES = 2**30  # of an object that is fetched by itself
_MOST_MANIFEST = 2**26  # which names some 600,000 objects


@final
class Mirror:
    """The objects of one published store, by their names.

    address:  as in errors
    folder:   where they are kept, under the same names
    manifest: its bytes
    kept:     what was fetched
    """

    def __init__(self, address: str, *, into: Path | None = None) -> None:
        """Read the manifest.

        Args:
            address: of the store.
            into: a folder for all objects, without a limit, where the manifest is kept last; default: the cache.

        Raises:
            NotAStoreError: there is no finalized store.
            UnreadableError: the server does not answer, or refuses.
            StoreError: the address is not as it must be, or obstore is not installed.
        """
        self.address = address
        self._server, self._errors = _server(address)
        self._process = os.getpid()
        text = self._get(MANIFEST, _MOST_MANIFEST)
        if text is None:
            raise NotAStoreError(
                f"there is no store at {address}, or it is not finalized: it has no {MANIFEST}, which `annotate "
                "finalize` writes; only finalized stores can be read from a server"
            )
        self.manifest, self._listed = text, _listed(text, address)
        root = cache.folder()
        self.folder = into or root / "stores" / hashlib.sha256(text).hexdigest()
        self.kept = Kept(
            address,
            self.folder,
            self._get,
            advice=f"is not what its {MANIFEST} says, in {ATTEMPTS} attempts: it is damaged there, or the store was "
            "published again since it was opened; open it again",
            room=None if into else cache.Room(root, cache.limit()),
        )
        if into is None:
            self.keep_manifest()

    def keep_manifest(self) -> None:
        """Have the manifest in the folder."""
        self.kept.keep(MANIFEST, self.manifest)

    def missing(self) -> list[str]:
        """The names of the objects that the folder does not have yet. All that it has are read and checked."""
        return [name for name, expected in sorted(self._listed.items()) if not self.kept.has(name, expected)]

    def names(self) -> list[str]:
        """The names of all objects, sorted."""
        return sorted({*self._listed, MANIFEST})

    def children(self, prefix: str) -> list[str]:
        """The names directly below a prefix."""
        start = f"{prefix}/"
        return [name[len(start) :] for name in self._listed if name.startswith(start) and "/" not in name[len(start) :]]

    def fetch(self, name: str) -> None:
        """Have an object in the folder; nothing if the manifest does not name it, or the server has lost it.

        Raises:
            DamageError: the server has other bytes than the manifest says.
            UnreadableError: it does not answer, or the folder cannot be written.
        """
        if (expected := self._listed.get(name)) is not None and name != MANIFEST:
            self.kept.fetch(name, expected)

    def fetch_all(self, names: Iterable[str]) -> None:
        """The same for many, some at the same time."""
        self.kept.fetch_all(
            {name: self._listed[name] for name in names if name in self._listed}, most=MOST_BYTES_OF_SHARD
        )

    def _get(self, name: str, most: int = _MOST_BYTES) -> bytes | None:
        """The bytes that the server has, or None if it has none."""
        self._refuse_after_fork()
        for _ in range(ATTEMPTS):
            try:
                found = self._server.get(name)
                if (size := found.meta["size"]) > most:
                    raise too_large(self.address, name, size, most)
                data = bytes(found.bytes())
                if len(data) == size:
                    return data
                why: object = f"it has {len(data):,} of {size:,} bytes"
            except FileNotFoundError:
                return None
            except self._errors as error:
                why = str(error).partition("\n")[0]
        raise UnreadableError(f"cannot read {name} of {self.address}, in {ATTEMPTS} attempts: {why}")

    def _refuse_after_fork(self) -> None:
        """Check that the client is used in the process that made it: its threads do not survive a fork.

        Raises:
            StoreError: another process made it; its calls would never return.
        """
        if self._process != os.getpid():
            raise StoreError(
                f"cannot fetch from {self.address} in a process that was forked from the one that opened it: "
                'start workers with "spawn", for example DataLoader(..., multiprocessing_context="spawn")'
            )


def _server(address: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """The client of a web server, and what it raises."""
    url, headers = url_of(address), headers_of(address)
    try:
        from obstore.exceptions import BaseError
        from obstore.store import HTTPStore
    except ImportError as error:
        raise StoreError(
            f"cannot use the address {address}: stores on servers need obstore: pip install 'tokenlabel[hub]'"
        ) from error
    options = {"allow_http": url.startswith("http://"), "timeout": timedelta(minutes=5)}
    if headers:
        options["default_headers"] = headers
    retry = {"max_retries": 5, "retry_timeout": timedelta(minutes=2)}
    try:
        return HTTPStore.from_url(url, client_options=options, retry_config=retry), (BaseError, OSError)
    except BaseError as error:
        raise StoreError(f"cannot use the address {address}: {str(error).partition(chr(10))[0]}") from error


def _listed(text: bytes, address: str) -> dict[str, str]:
    """The SHA-256 of every object, by its name.

    Raises:
        DamageError: it is not a manifest.
    """
    listed: dict[str, str] = {}
    for line in text.decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not is_key(name):
            raise DamageError(f"the {MANIFEST} of {address} is not one: it has the line {line[:80]!r}")
        listed[name] = digest
    return listed
