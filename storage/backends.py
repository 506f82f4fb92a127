"""Which backend opens the store at an address? It is imported only when it is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from storage.errors import StoreError, leads_nowhere
from storage.remote.address import SCHEMES
from storage.schema import Schema
from storage.store import LabelStore


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One backend.

    name:     its name in errors
    suffixes: its addresses end with one of these,
    schemes:  or begin with one of these; without any, all its addresses are local folders
    package:  its package, which has the functions `create(address, schema, keys, targets)`,
              `open_existing(address, writable=...)` and `find(address)`; each returns a `Backend`, except that `find`
              returns None where a new store can be made
    library:  a library that it needs, beyond what the project always installs
    extra:    the extra of the project that installs this library
    """

    name: str
    suffixes: tuple[str, ...]
    package: str
    library: str | None = None
    extra: str | None = None
    schemes: tuple[str, ...] = ()


# The first entry that fits an address is used. CONTRIBUTING.md says what else a new backend needs.
_BACKENDS = (
    _Entry(name="HDF5", suffixes=(".h5", ".hdf5"), package="storage.hdf5_backend", library="h5py", extra="hdf5"),
    _Entry(name="Zarr", suffixes=("",), package="storage.zarr_backend", schemes=("s3://", *SCHEMES)),
)


def create_store(
    address: str | os.PathLike[str], schema: Schema, keys: Sequence[str], targets: Sequence[int] | None = None
) -> LabelStore:
    """Make the store of these keys at this address, or open the equal one that exists there, for writing.

    Args:
        address: a local folder, of HDF5 files if its name ends with .h5 or .hdf5, and otherwise a Zarr v3 group; or
            s3://bucket/name, a Zarr v3 group.
        schema: what all label maps share.
        keys: the key of each row. The sequence may make them on demand: it is asked for slices of a few tens of
            thousands, one after another, three or four times in total.
        targets: the dataset's own class of each row, or -1.

    Raises:
        MismatchError: the store that exists there has another schema or other keys; each difference is named.
        StoreError: the address cannot be used, or a key is not valid.

    Examples:
        >>> import tempfile
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg", "dog/2.jpg"], targets=[0, 1])
        ...     len(store), store.pending()
        (2, [range(0, 2)])
    """
    return LabelStore(_backend(os.fspath(address)).create(os.fspath(address), schema, keys, targets))


def open_store(address: str | os.PathLike[str], *, writable: bool = False) -> LabelStore:
    """Open the store at this address.

    Args:
        address: address of the store, see `create_store`; or of a published one, https://host/folder or
            hf://datasets/OWNER/NAME. Shards of these, and of stores in buckets that are only read, are fetched when
            they are first read, and kept: docs/sharing.md.
        writable: whether it may be changed.

    Raises:
        NotAStoreError: nothing exists there, or something else.
        FormatError: the store has a format that this version does not read.

    Examples:
        A small store comes with the package: labels of 36 photographs, by an ImageNet network.

        >>> from importlib.resources import files
        >>> store = open_store(str(files("storage") / "photographs.zarr"))
        >>> store.schema
        Schema(14 x 14 x 3 of 1,000 classes, probability as uint8, 36 rows a shard)
        >>> label = store[store.find("goldfish.jpg")]
        >>> store.schema.class_names[label.classes[7, 7, 0]], bool(label.scores[7, 7, 0] > 0.8)
        ('goldfish, Carassius auratus', True)
    """
    return LabelStore(_backend(os.fspath(address)).open_existing(os.fspath(address), writable=writable))


def find_store(address: str | os.PathLike[str]) -> LabelStore | None:
    """The store at this address, for writing, or None where a new one can be made.

    Raises:
        NotAStoreError: something else exists there.
        FormatError: the store has a format that this version does not read.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     find_store(f"{folder}/labels.zarr") is None
        True
    """
    found = _backend(os.fspath(address)).find(os.fspath(address))
    return None if found is None else LabelStore(found)


def absolute(address: str | os.PathLike[str]) -> str:
    """The address as it is understood in every working folder of this machine."""
    text = os.fspath(address)
    return text if "://" in text else os.path.abspath(text)


def _backend(address: str) -> Any:
    """The package of the backend of an address.

    Raises:
        NotAStoreError: a symbolic link is there that leads to nothing.
        StoreError: it cannot use the address, or the library that it needs is not installed.
    """
    entry = next(entry for entry in _BACKENDS if _fits(entry, address))
    if "://" in address and not entry.schemes:
        raise StoreError(
            f"cannot use this address: an {entry.name} store is a local folder; for a bucket, give "
            "the address of a Zarr store, such as s3://bucket/labels.zarr"
        )
    if entry.library is not None and find_spec(entry.library) is None:
        raise StoreError(
            f"cannot use the store {address}: {entry.name} stores need {entry.library}: "
            f"pip install 'tokenlabel[{entry.extra}]'"
        )
    link = address.rstrip("/")
    if "://" not in address and os.path.islink(link) and not os.path.exists(link):
        raise leads_nowhere(address, os.readlink(link))
    return import_module(entry.package)


def _fits(entry: _Entry, address: str) -> bool:
    return address.lower().startswith(entry.schemes) or address.rstrip("/").endswith(entry.suffixes)
