"""Which kind of collection is at an address? Here is the table of all kinds; each is imported only when needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from annotate.errors import AnnotateError, PictureError
from annotate.images.elsewhere import refuse_if_below
from annotate.images.source import ImageSource, Picture
from annotate.images.sources.folder import FolderReader, holds_pictures
from annotate.images.suffixes import is_parquet, is_picture, is_tar
from storage import Status
from storage.errors import explained


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """One kind of collection, recognised by the names of files alone.

    opener:   what opens it, given its address: "file:name" in annotate/images/sources
    suffixes: a file with one of these suffixes is such a collection
    marks:    a folder that has all names of one of these sets is such a collection
    members:  a folder without pictures but with such files is such a collection: their name, and how to recognise them
    key_root: if keys are paths of picture files, the folder that they are relative to, given the address
    packages: what it imports that may not be installed
    extra:    the extra of this project that installs them
    """

    opener: str
    suffixes: tuple[str, ...] = ()
    marks: tuple[frozenset[str], ...] = ()
    members: tuple[str, Callable[[str], bool]] | None = None
    key_root: Callable[[Path], Path] | None = None
    packages: tuple[str, ...] = ()
    extra: str = ""


_FOLDER = _Kind(opener="folder:FolderImages", key_root=lambda path: path)
_SAVED = (frozenset({"dataset_dict.json"}), frozenset({"dataset_info.json", "state.json"}))
_ARROW = ("datasets", "pyarrow")
_KINDS = (
    _FOLDER,
    _Kind(opener="tar:TarImages", suffixes=(".tar",), members=("tar files", is_tar)),
    _Kind(
        opener="parquet_table:parquet_images", suffixes=(".parquet",), members=("Parquet files", is_parquet),
        packages=_ARROW, extra="images",
    ),
    _Kind(opener="arrow_table:saved_images", marks=_SAVED, packages=_ARROW, extra="images"),
    _Kind(opener="hdf5:Hdf5Images", suffixes=(".h5", ".hdf5"), packages=("h5py",), extra="hdf5"),
    _Kind(opener="list_file:ListedImages", suffixes=(".csv", ".jsonl"), key_root=lambda path: path.parent),
)  # fmt: skip
_STORES = ("store.h5", "zarr.json")  # files at the top of a store of labels


def open_images(address: str | os.PathLike[str]) -> ImageSource:
    """The pictures at this address; docs/sources.md describes what may be there.

    Args:
        address: a folder of pictures, of tar files or of Parquet files, or one that `datasets` has saved; or a file:
            .tar, .parquet, .h5, .hdf5, or a list of paths, .csv or .jsonl.

    Raises:
        AnnotateError: there is no such collection, it cannot be used, or the package that reads it is not installed.

    With the two pictures images/a/picture.jpg and images/b/picture.jpg:

    >>> from annotate import open_images
    >>> source = open_images("images")
    >>> list(source.keys), source.target_names
    (['a/picture.jpg', 'b/picture.jpg'], ('a', 'b'))
    """
    try:
        return _open(address, _kind(_local(address)))
    except AnnotateError as error:
        explained(error, "sources.md")
        raise


def by_key(address: str | os.PathLike[str]) -> Callable[[str], Picture]:
    """A function that reads pictures at this address by their keys.

    Where keys are paths of picture files, nothing is listed beforehand. For other collections a table of all keys is
    made once.

    Raises:
        AnnotateError: as `open_images`. The function returned raises PictureError, with MISSING for an unknown key.
    """
    path = _local(address)
    kind = _kind(path)
    if kind.key_root is not None:
        return FolderReader(kind.key_root(path)).read
    source = _open(path, kind)
    rows = {key: row for row, key in enumerate(source.keys)}

    def read(key: str) -> Picture:
        if key not in rows:
            raise PictureError(Status.MISSING, f"{path.name} has no picture of this name")
        return source.reader.read(source.handles[rows[key]])

    return read


def _open(address: str | os.PathLike[str], kind: _Kind) -> ImageSource:
    file, name = kind.opener.split(":")
    try:
        source: ImageSource = getattr(import_module(f"annotate.images.sources.{file}"), name)(address)
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in kind.packages:
            raise
        raise AnnotateError(
            f"cannot read the pictures in {address} without {package}: pip install 'tokenlabel[{kind.extra}]'"
        ) from error
    return source


def _local(address: str | os.PathLike[str]) -> Path:
    """The absolute path of a collection on this machine."""
    if "://" in os.fspath(address):
        raise AnnotateError(
            f"cannot read pictures from {address}: pictures are read from local files only; copy or mount them"
        )
    path = Path(address).absolute()
    if not path.exists():
        raise AnnotateError(f"there is no folder of pictures at {address}, and no file that holds pictures")
    return path


def _kind(path: Path) -> _Kind:
    """The kind of the collection at this path, by the names of files alone.

    Raises:
        AnnotateError: it holds no pictures, or files of two kinds.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    for kind in _KINDS:
        if path.suffix.lower() in kind.suffixes or (kind.members and kind.members[1](path.name)):
            return kind
    if is_picture(path.name):
        raise AnnotateError(f"{path} is one picture; give the folder that holds it, or a list that names it")
    suffixes = [suffix for kind in _KINDS for suffix in kind.suffixes]
    raise AnnotateError(
        f"cannot tell what pictures are in {path}: a file is {', '.join(suffixes[:-1])} or {suffixes[-1]}"
    )


def _kind_of_folder(path: Path) -> _Kind:
    try:
        names = {name for name in os.listdir(path) if not name.startswith(".")}
    except OSError as error:
        raise AnnotateError(f"cannot list the folder {path}: {error.strerror}") from error
    for kind in _KINDS:
        if any(mark <= names for mark in kind.marks):
            return kind
    found = {kind.members[0]: kind for kind in _KINDS if kind.members and any(map(kind.members[1], names))}
    store = not names.isdisjoint(_STORES)
    # Beside more pictures than there are such files, they are only left out: a preview or two are not the collection.
    # The search for pictures comes last, because it may take long.
    archives = sum(bool(kind.members and kind.members[1](name)) for kind in found.values() for name in names)
    if holds_pictures(path, more_than=archives):
        return _FOLDER
    if not (found or store):
        refuse_if_below(path, _is_collection)
        return _FOLDER
    if store:
        raise AnnotateError(
            f"{path} is a store of labels, not a collection of pictures; give the pictures as the first argument"
        )
    if len(found) > 1:
        raise AnnotateError(f"{path} holds {' and '.join(found)}; put each kind into a folder of its own")
    return next(iter(found.values()))


def _is_collection(names: set[str]) -> bool:
    """Whether a folder with these names in it is a collection of another kind than picture files."""
    return any(
        any(mark <= names for mark in kind.marks) or (kind.members is not None and any(map(kind.members[1], names)))
        for kind in _KINDS
    )
