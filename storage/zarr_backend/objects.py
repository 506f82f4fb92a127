"""How are the objects of a Zarr store read and written? As named bytes, in a local folder or in a bucket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, final

from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from storage.backend import MOST_BYTES
from storage.errors import DamageError, StoreError, UnreadableError, cannot_make, too_large
from storage.files import contained
from storage.files.atomic_file import Prepared, is_leftover, remove_leftovers_below, write_atomically
from storage.files.contained import is_missing
from storage.remote import cache
from storage.remote.address import SCHEMES
from storage.remote.kept import ATTEMPTS, Kept
from storage.remote.mirror import Mirror
from storage.schema import MOST_BYTES_OF_SHARD
from storage.zarr_backend.bucket import (
    described_below,
    in_short,
    listed,
    listed_below,
    open_bucket,
    put_new,
    refuse_panic,
)
from storage.zarr_backend.contained_store import Contained

_client_lives_in: int | None = None  # the process that first used a bucket
_NO_THREAD = "can't start new thread"  # in a RuntimeError, where the system refuses one
_READING = ("read", "look for", "list")


@final
class Objects:
    """Named bytes at an address: a local folder, `s3://bucket/prefix` with the credentials of the environment, or the
    `https://` or `hf://` address of a published store.

    address: as in errors
    folder:  the local folder, or that where objects of a published store are kept once they were fetched, or None
    mirror:  what fetches the objects of a published store, or None
    kept:    where the objects of a remote store's shards are kept to be read, or None: they are not
    zarr:    zarr-python's store for the same address
    errors:  the exceptions that failed requests raise

    Raises:
        StoreError: the address is of an unknown kind.
    """

    def __init__(self, address: str, *, writable: bool) -> None:
        """Args: the address, and whether to write. Nothing is read yet."""
        self.address = address
        self.folder: Path | None = None
        self.errors: tuple[type[Exception], ...] = (OSError, MemoryError)
        self.zarr: Store
        self._bucket: Any = None
        self.mirror: Mirror | None = None
        self.kept: Kept | None = None
        if address.startswith(SCHEMES):
            if writable:
                raise StoreError(
                    f"cannot write to {address}: a published store is only read; `annotate pull` copies it to a folder"
                )
            self.mirror = Mirror(address)
            self.kept, self.folder = self.mirror.kept, self.mirror.folder
            self.zarr = Contained(self.folder, read_only=True, mirror=self.mirror)
        elif "://" in address:
            self.zarr, self._bucket, remote = open_bucket(address, writable=writable)
            self.errors += remote
            if not writable and cache.is_usable():
                self.kept = Kept(
                    address,
                    cache.folder() / "buckets" / hashlib.sha256(address.encode()).hexdigest(),
                    self.get,
                    advice=f"is not the object that its commit record names, in {ATTEMPTS} attempts; `annotate verify` "
                    "lists all damage",
                    room=cache.Room(cache.folder(), cache.limit()),
                )
        else:
            self.folder = Path(address)
            self.zarr = Contained(self.folder, read_only=not writable)

    def get(self, name: str, *, most: int = MOST_BYTES) -> bytes | None:
        """The bytes of an object, or None if there is none.

        Raises:
            DamageError: there are more than `most`.
        """
        with self.explaining_errors("read", name):
            if self.mirror is not None:
                self.mirror.fetch(name)
            if self.folder is not None:  # the same as below, but many times faster
                try:
                    path = contained.to_read(self.folder, name)
                    if (size := path.stat().st_size) > most:
                        raise too_large(self.address, name, size, most)
                    return path.read_bytes()
                except OSError as error:
                    if is_missing(error):
                        return None
                    raise
            return self._get_remote(name, most)

    def _get_remote(self, name: str, most: int) -> bytes | None:
        try:
            found = self._bucket.get(name)
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error) and "/" in name:  # says nothing of the objects of a store that was opened
                raise
            return None
        if (size := found.meta["size"]) > most:
            raise too_large(self.address, name, size, most)
        return bytes(found.bytes())

    def prepared(self, name: str, data: bytes) -> AbstractContextManager[bytes | Prepared]:
        """What `set` takes for an object: in a folder a file, so that `set` needs no more space. Buckets have none."""
        if self.folder is None:
            return nullcontext(data)
        with self.explaining_errors("write", name):
            return Prepared(contained.to_change(self.folder, name), data, below=self.folder)

    def set(self, name: str, data: bytes | Prepared) -> None:
        """Write an object whole, or give a prepared one its name."""
        with self.explaining_errors("write", name):
            if isinstance(data, Prepared):
                data.put_in_place()
                return
            if self.folder is not None:
                write_atomically(contained.to_change(self.folder, name), data, below=self.folder)
                return
            sync(self.zarr.set(name, default_buffer_prototype().buffer.from_bytes(data)))

    def set_new(self, name: str, data: bytes) -> None:
        """Write an object whole unless there is one: of several processes that do so at once, one writes.

        Raises:
            StoreError: as for other requests, or the bucket's server cannot promise that.
        """
        with self.explaining_errors("write", name):
            if self.folder is None:
                put_new(self._bucket, name, data, self.address)
                return
            with suppress(FileExistsError):
                write_atomically(contained.to_change(self.folder, name), data, new=True, below=self.folder)

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self.explaining_errors("remove", name):
            if self.folder is not None:  # a file, and never a folder with all that is in it
                contained.to_change(self.folder, name).unlink(missing_ok=True)
                return
            sync(self.zarr.delete(name))

    def move(self, name: str, to: str) -> None:
        """Give an object another name; nothing where there is none."""
        if self.folder is not None:
            with self.explaining_errors("move", name):
                contained.move(self.folder, name, to)
        elif (data := self.get(name, most=MOST_BYTES_OF_SHARD)) is not None:
            self.set(to, data)
            self.delete(name)

    @property
    def is_local(self) -> bool:
        """Whether the objects are on this machine, so that requests are fast."""
        return self.folder is not None and self.mirror is None

    def fetch_below(self, *prefixes: str) -> None:
        """Have all objects below these prefixes in the folder."""
        if self.mirror is not None:
            self.mirror.fetch_all(f"{prefix}/{name}" for prefix in prefixes for name in self.mirror.children(prefix))

    def has(self, name: str) -> bool:
        """Whether there is an object of this name."""
        with self.explaining_errors("look for", name):
            if self.mirror is not None:
                return name in self.mirror.names()
            if self.folder is not None:
                return os.path.lexists(self.folder / name)
            there: bool = sync(self.zarr.exists(name))
            return there

    def make_root(self) -> None:
        """Make the folder of a new store. Nothing else makes it: where it is gone, so is the mount that it was on."""
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise cannot_make(self.address, error) from error

    def holds_any(self) -> bool:
        """Whether there is anything at the address, apart from unfinished files and what systems leave anywhere."""
        with self.explaining_errors("list", "the objects"):
            if self.folder is not None:
                found = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
                return any(not is_leftover(name) and not contained.is_of_the_system(name) for name in found)
            # A console's marker of the folder itself has no name.
            return any(found["path"] for page in self._bucket.list(chunk_size=1) for found in page)

    def children(self, prefix: str) -> list[str]:
        """The names directly below a prefix: one listing."""
        with self.explaining_errors("list", prefix):
            if self.mirror is not None:
                return self.mirror.children(prefix)
            if self.folder is not None:
                return contained.children(self.folder, prefix)
            return listed_below(self._bucket, prefix)

    def check_column(self, name: str, count: int, most: int) -> None:
        """Check that a column has this many objects, each of at most so many bytes.

        Raises:
            DamageError: one is missing or larger.
            UnreadableError: one cannot be read.
        """
        self.fetch_below(f"{name}/c")
        with self.explaining_errors("list", name):
            found = described_below(self._bucket, f"{name}/c") if count and self.folder is None else {}
        there = {f"{name}/c/{number}": each["size"] for number, each in found.items()}
        for object_name in (f"{name}/c/{number}" for number in range(count)):
            with self.explaining_errors("read", object_name):
                size = there.get(object_name) if self.folder is None else contained.size_of(self.folder, object_name)
            if size is None:
                raise DamageError(f"the {name} of {self.address} are not whole: {object_name} is missing")
            if size > most:
                raise too_large(self.address, object_name, size, most)

    def written_below(self, prefix: str, names: Collection[str]) -> dict[str, float]:
        """When these objects directly below a prefix were written, in seconds since 1970. A mirror does not know."""
        with self.explaining_errors("list", prefix):
            if self.folder is not None:
                return {} if self.mirror else contained.written_below(self.folder, prefix, names)
            found = described_below(self._bucket, prefix) if names else {}
            return {name: found[name]["last_modified"].timestamp() for name in names if name in found}

    def names(self) -> list[str]:
        """The names of all objects, sorted, without the unfinished files of killed writers."""
        with self.explaining_errors("list", "the objects"):
            if self.mirror is not None:
                return self.mirror.names()
            if self.folder is not None:
                return contained.names(self.folder)
            return sorted(name for name in listed(self._bucket) if not is_leftover(name))

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of killed writers. Buckets have none."""
        if self.folder is not None:
            with self.explaining_errors("remove unfinished files among", "the objects"):
                remove_leftovers_below(self.folder)

    @contextmanager
    def explaining_errors(self, what: str, name: str) -> Iterator[None]:
        """Turn the error of a request into a StoreError that says what was being done.

        Raises:
            UnreadableError: something was to be read, looked for or listed, and it failed.
            StoreError: something else failed.
        """
        self.refuse_after_fork()
        kind = UnreadableError if what in _READING else StoreError
        expected: tuple[type[Exception], ...] = (*self.errors, RuntimeError)
        try:
            yield
        except expected as error:
            if not isinstance(error, self.errors) and _NO_THREAD not in str(error):
                raise
            raise kind(f"cannot {what} {name} of {self.address}: {in_short(error) or repr(error)}") from error
        except BaseException as error:
            refuse_panic(error, self.address)
            raise

    def refuse_after_fork(self) -> None:
        """Check that the client of a bucket is used in the process that made it: its threads do not survive a fork.

        Raises:
            StoreError: another process made it; its calls would never return.
        """
        global _client_lives_in
        if self.folder is not None:
            return
        _client_lives_in = _client_lives_in or os.getpid()
        if _client_lives_in != os.getpid():
            raise StoreError(
                f"cannot use {self.address} in a process that was forked from one that had used a bucket: "
                'start workers with "spawn", for example DataLoader(..., multiprocessing_context="spawn")'
            )
