"""How does an HDF5 file become a collection? By its dataset "images", and by "labels" and "keys" if it has them."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from annotate.errors import AnnotateError, PictureError
from annotate.images.decode import MAX_PIXELS
from annotate.images.keys import is_sound, row_keys
from annotate.images.per_process import Opened
from annotate.images.source import Picture
from annotate.images.targets import as_targets
from storage import Status
from storage.hdf5_backend.file import open_any
from storage.hdf5_backend.sound import own
from storage.keys.key import MOST_KEY_BYTES, shown_key

IMAGES, LABELS, KEYS = "images", "labels", "keys"
_KINDS = {LABELS: "whole numbers", KEYS: "texts"}
_CACHE = 1 << 26  # bytes of decoded chunks to keep: a chunk may hold many pictures, which are read one after the other
# What h5py raises for a damaged file: it has no separate type for HDF5's errors. TypeError: numpy lacks a value's type.
_H5PY_ERRORS = (OSError, LookupError, ValueError, RuntimeError, TypeError, MemoryError)
_MOST_A_BYTE = 1032  # pictures that a byte in the file can stand for: no packing makes more of it


@dataclass(frozen=True)
class Hdf5Reader:
    """Reads rows of a file's dataset "images"."""

    path: Path
    _opened: Opened[tuple[h5py.File, h5py.Dataset]] = field(
        default_factory=Opened, init=False, repr=False, compare=False
    )

    @property
    def root(self) -> Path:
        """The file."""
        return self.path

    def read(self, handle: int, /) -> Picture:
        """The picture in this row: the bytes of its file, or its pixels uint8 [H, W, 3] or [H, W].

        Raises:
            PictureError: MISSING where the file is gone, UNREADABLE with HDF5's reason.
        """
        try:
            _, images = self._opened.get(None, self._open)
            if (size := math.prod(images.shape[1:3])) > MAX_PIXELS:
                raise PictureError(Status.REFUSED, f"{size:,} pixels are more than the {MAX_PIXELS:,} allowed")
            picture = images[handle]
        except FileNotFoundError:
            raise PictureError(Status.MISSING, f"{self.path.name} is gone") from None
        except _H5PY_ERRORS as error:
            raise PictureError(Status.UNREADABLE, f"{self.path.name}: {error}") from error
        return picture.tobytes() if images.ndim == 1 else picture

    def _open(self) -> tuple[h5py.File, h5py.Dataset]:
        file = open_any(self.path, cache_bytes=_CACHE)
        return file, own(file, IMAGES)  # as when the pictures were counted: values in other files are refused


class Hdf5Images:
    """The pictures of an HDF5 file, in the order of its rows.

    images: encoded pictures, one uint8 array of any length in each row; or pixels, uint8 [n, H, W, 3] or [n, H, W]
    labels: whole numbers [n]; optional
    keys:   texts [n]; optional: without them, keys are row numbers such as "000000012"

    Raises:
        AnnotateError: the file cannot be read, lacks such datasets, has invalid keys, or takes values from other files:
            by external storage, as virtual datasets, or by external links.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        self.reader = Hdf5Reader(Path(address).absolute())
        try:
            with open_any(self.reader.path, cache_bytes=_CACHE) as file:
                count = _count(file, address)
                labels = _column(file, LABELS, count, address)
                keys = _column(file, KEYS, count, address)
        except _H5PY_ERRORS as error:
            raise AnnotateError(f"cannot read the HDF5 file {address}: {error}") from error
        if keys is not None:
            _refuse_unsound(keys, address)
        self.keys = row_keys(count) if keys is None else keys
        self.handles = range(count)
        self.targets, self.target_names = as_targets(labels or [], lambda row: f"row {row} of {LABELS!r} in {address}")
        self.left_out = 0

    def __repr__(self) -> str:
        """The kind, the address and the number of pictures."""
        return f"Hdf5Images({str(self.reader.path)!r}, {len(self.keys):,} pictures)"


def _count(file: h5py.File, address: object) -> int:
    """The number of pictures in the file."""
    images = _own(file, IMAGES)
    if not isinstance(images, h5py.Dataset):
        stored = "; it looks like part of a store of labels, not like pictures" * ("classes" in [*file])
        found = ", ".join(sorted(file)) or "nothing"
        if isinstance(images, h5py.Group):
            found = f"a group of this name, which holds {len(images):,}"
        raise AnnotateError(
            f"the HDF5 file {address} has no dataset {IMAGES!r} but {found}{stored}. "
            f"It must hold the pictures; {LABELS!r} may hold their class numbers and {KEYS!r} their keys"
        )
    encoded = images.ndim == 1 and h5py.check_vlen_dtype(images.dtype) == np.uint8
    pixels = images.dtype == np.uint8 and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3))
    if not encoded and not pixels:
        raise AnnotateError(
            f"{IMAGES!r} in {address} is {images.dtype} {list(images.shape)}; pictures are uint8 arrays of any length "
            "[n] (h5py.vlen_dtype), each the bytes of a file, or pixels, uint8 [n, H, W, 3] or [n, H, W]"
        )
    if images.ndim == 3 and images.shape[2] == 3:
        height, width = images.shape[:2]
        raise AnnotateError(
            f"{IMAGES!r} in {address} is uint8 {list(images.shape)}: one picture in colour, or grey ones that are 3 "
            f"pixels wide. One picture is [1, {height}, {width}, 3]; pad grey ones"
        )
    if not len(images):
        raise AnnotateError(f"{IMAGES!r} in {address} is empty")
    if len(images) > (most := _MOST_A_BYTE * images.id.get_storage_size()):
        raise AnnotateError(
            f"{IMAGES!r} in {address} says that it has {len(images):,} pictures; the file holds no more than {most:,}"
        )
    return len(images)


def _own(file: h5py.File, name: str) -> Any:
    """What the file itself has under a name, or None."""
    return None if file.get(name, getlink=True) is None else own(file, name)


def _column(file: h5py.File, name: str, count: int, address: object) -> list[Any] | None:
    """The labels or keys of all pictures, or None if the file has none."""
    if (column := _own(file, name)) is None:
        return None
    if not isinstance(column, h5py.Dataset) or column.shape != (count,) or _kind(column) != _KINDS[name]:
        raise AnnotateError(
            f"{name!r} in {address} is {column}; expected: {count:,} {_KINDS[name]}, one for each picture"
        )
    values: list[Any] = (column.asstr("utf-8") if name == KEYS else column)[()].tolist()
    return values


def _kind(column: h5py.Dataset) -> str | None:
    if h5py.check_string_dtype(column.dtype) is not None:
        return "texts"
    return "whole numbers" if column.dtype.kind in "iu" else None


def _refuse_unsound(keys: list[str], address: object) -> None:
    repeated = {key for key, times in Counter(keys).items() if times > 1}
    for row, key in enumerate(keys):
        if not is_sound(key) or key in repeated:
            raise AnnotateError(
                f"row {row} of {KEYS!r} in {address} is {shown_key(key)}{', which occurs twice' * (key in repeated)}; "
                f"a key is a relative path of at most {MOST_KEY_BYTES:,} bytes, with / as separator and without '.' "
                f"and '..', and names one picture. Without {KEYS!r}, row numbers are the keys"
            )
