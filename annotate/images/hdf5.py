"""How is an HDF5 file a collection of pictures? By its dataset "images", and by "labels" and "keys" if it has them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from annotate.errors import AnnotateError, PictureError
from annotate.images.keys import is_sound, row_keys
from annotate.images.opened import Opened
from annotate.images.source import Picture
from annotate.images.targets import as_targets
from storage import Status

IMAGES, LABELS, KEYS = "images", "labels", "keys"
_KINDS = {LABELS: "whole numbers", KEYS: "texts"}
_CACHE = 1 << 26  # bytes of unpacked chunks that are kept: a chunk may hold many pictures, which are read in turn
# What h5py raises of a file that is damaged: HDF5's own errors have no type of their own.
_UNREADABLE = (OSError, LookupError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Hdf5Reader:
    """Reads rows of the dataset "images" of a file."""

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
            picture = images[handle]
        except FileNotFoundError:
            raise PictureError(Status.MISSING, f"{self.path.name} is gone") from None
        except _UNREADABLE as error:
            raise PictureError(Status.UNREADABLE, f"{self.path.name}: {error}") from error
        return picture.tobytes() if images.ndim == 1 else picture

    def _open(self) -> tuple[h5py.File, h5py.Dataset]:
        file = _open(self.path)
        return file, file[IMAGES]


class Hdf5Images:
    """The pictures of an HDF5 file, in the order of its rows.

    images:  encoded pictures, one uint8 array of any length a row; or pixels, uint8 [n, H, W, 3] or [n, H, W]
    labels:  whole numbers [n]; may be missing
    keys:    texts [n]; where they are missing, the keys are the rows' numbers: "000000012"

    Raises:
        AnnotateError: the file cannot be read, has no such datasets, or keys that are none.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        self.reader = Hdf5Reader(Path(address).absolute())
        try:
            with _open(self.reader.path) as file:
                count = _count(file, address)
                labels = _column(file, LABELS, count, address)
                keys = _column(file, KEYS, count, address)
        except _UNREADABLE as error:
            raise AnnotateError(f"cannot read the HDF5 file {address}: {error}") from error
        if keys is not None:
            _refuse_unsound(keys, address)
        self.keys = row_keys(count) if keys is None else keys
        self.handles = range(count)
        self.targets, self.target_names = as_targets(labels or [], lambda row: f"row {row} of {LABELS!r} in {address}")
        self.left_out = 0


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False, rdcc_nbytes=_CACHE)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        # Someone in this process has it open as h5py does by default; HDF5 wants the same of all who open a file.
        return h5py.File(path, "r", rdcc_nbytes=_CACHE)


def _count(file: h5py.File, address: object) -> int:
    """How many pictures the file has."""
    images = file.get(IMAGES)
    if not isinstance(images, h5py.Dataset):
        stored = "; it looks like a part of a store of labels, not like pictures" * ("classes" in file)
        raise AnnotateError(
            f"the HDF5 file {address} has no dataset {IMAGES!r} but {', '.join(sorted(file)) or 'nothing'}{stored}. "
            f"Pictures are looked for there, their numbers of classes in {LABELS!r} and their names in {KEYS!r}"
        )
    encoded = images.ndim == 1 and h5py.check_vlen_dtype(images.dtype) == np.uint8
    pixels = images.dtype == np.uint8 and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3))
    if not encoded and not pixels:
        raise AnnotateError(
            f"{IMAGES!r} in {address} is {images.dtype} {list(images.shape)}; pictures are uint8 arrays of any length "
            "[n] (h5py.vlen_dtype), each the bytes of a file, or pixels, uint8 [n, H, W, 3] or [n, H, W]"
        )
    if not len(images):
        raise AnnotateError(f"{IMAGES!r} in {address} is empty")
    return len(images)


def _column(file: h5py.File, name: str, count: int, address: object) -> list[Any] | None:
    """The labels or keys of all pictures, or None where the file has none."""
    if name not in file:
        return None
    column = file[name]
    if not isinstance(column, h5py.Dataset) or column.shape != (count,) or _kind(column) != _KINDS[name]:
        raise AnnotateError(f"{name!r} in {address} is {column}; expected are {count:,} {_KINDS[name]}, one a picture")
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
                f"row {row} of {KEYS!r} in {address} is {key!r}{' and not the only one' * (key in repeated)}; a key is "
                "a relative path with / between its parts, no . or .. among them, and names one picture. Without "
                f"{KEYS!r}, rows are named by their numbers"
            )
