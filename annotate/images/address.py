"""Which kind of collection is at an address? Its file is imported only when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from annotate.errors import AnnotateError, PictureError
from annotate.images.folder import FolderImages, FolderReader, holds_picture
from annotate.images.names import is_parquet, is_picture, is_tar
from annotate.images.source import ImageSource, Picture
from storage import Status

Kind = Literal["folder", "tar", "parquet", "saved", "hdf5", "list"]

_FILES: dict[str, Kind] = {".parquet": "parquet", ".h5": "hdf5", ".hdf5": "hdf5", ".csv": "list", ".jsonl": "list"}
_EXTRAS = {"h5py": "hdf5", "datasets": "images", "pyarrow": "images"}


def open_images(address: str | os.PathLike[str]) -> ImageSource:
    """The pictures at this address; docs/sources.md says what may be there.

    Args:
        address: a folder of pictures, of tar files or of Parquet files, or one that `datasets` has saved; or a file:
            .tar, .parquet, .h5 or .hdf5, or a list of paths, .csv or .jsonl.

    Raises:
        AnnotateError: nothing of these is there, it cannot be used, or the package that reads it is missing.
    """
    kind = _kind(_local(address))
    try:
        return _open(address, kind)
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise AnnotateError(
            f"cannot read the pictures in {address} without {package}: pip install 'tokenlabel[{_EXTRAS[package]}]'"
        ) from error


def by_key(address: str | os.PathLike[str]) -> Callable[[str], Picture]:
    """What reads a few pictures at this address by their keys.

    A folder is not listed for that, nor is a list read. Of the other kinds a table of all keys is made, once.

    Raises:
        AnnotateError: as `open_images` does. What is returned raises PictureError, with MISSING for an unknown key.
    """
    path = _local(address)
    kind = _kind(path)
    if kind in ("folder", "list"):
        return FolderReader(path if kind == "folder" else path.parent).read
    source = open_images(path)
    rows = {key: row for row, key in enumerate(source.keys)}

    def read(key: str) -> Picture:
        if key not in rows:
            raise PictureError(Status.MISSING, f"{path.name} has no picture of this name")
        return source.reader.read(source.handles[rows[key]])

    return read


def _open(address: str | os.PathLike[str], kind: Kind) -> ImageSource:
    if kind == "tar":
        from annotate.images.archive import TarImages

        return TarImages(address)
    if kind == "parquet":
        from annotate.images.hub import HubImages
        from annotate.images.parquet import ParquetTable

        return HubImages(address, ParquetTable.at)
    if kind == "saved":
        from annotate.images.hub import HubImages
        from annotate.images.saved import SavedTable

        return HubImages(address, SavedTable.at)
    if kind == "hdf5":
        from annotate.images.hdf5 import Hdf5Images

        return Hdf5Images(address)
    if kind == "list":
        from annotate.images.listed import ListedImages

        return ListedImages(address)
    return FolderImages(address)


def _local(address: str | os.PathLike[str]) -> Path:
    """Where the pictures lie on this machine."""
    if "://" in os.fspath(address):
        raise AnnotateError(
            f"cannot read pictures from {address}: they are read from files of this machine. Copy or mount them"
        )
    path = Path(address).absolute()
    if not path.exists():
        raise AnnotateError(f"there is no folder of pictures at {address}, and no file that holds some")
    return path


def _kind(path: Path) -> Kind:
    """What the pictures lie in, by the names of files alone.

    Raises:
        AnnotateError: no pictures can be in it, or two kinds of files that hold some.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    if is_tar(path.name):
        return "tar"
    if path.suffix.lower() in _FILES:
        return _FILES[path.suffix.lower()]
    if is_picture(path.name):
        raise AnnotateError(f"{path} is a picture; give the folder that it lies in, or a list that names it")
    raise AnnotateError(
        f"cannot tell what pictures are in {path}: a file is .tar, .parquet, .h5, .hdf5, or a list, .csv or .jsonl"
    )


def _kind_of_folder(path: Path) -> Kind:
    try:
        names = {name for name in os.listdir(path) if not name.startswith(".")}
    except OSError as error:
        raise AnnotateError(f"cannot list the folder {path}: {error.strerror}") from error
    if "dataset_dict.json" in names or {"dataset_info.json", "state.json"} <= names:
        return "saved"
    tars = any(map(is_tar, names))
    tables = any(map(is_parquet, names))
    store = not names.isdisjoint(("store.h5", "zarr.json"))
    # Beside pictures such a file is only one that is left out; looked for last, as it may take long.
    if not (tars or tables or store) or holds_picture(path):
        return "folder"
    if store:
        raise AnnotateError(f"{path} is a store of labels, not of pictures; the pictures come first, then the store")
    if tars and tables:
        raise AnnotateError(f"{path} holds tar files and Parquet files; put each kind into a folder of its own")
    return "tar" if tars else "parquet"
