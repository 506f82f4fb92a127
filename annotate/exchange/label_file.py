"""What does a .pt file of a label tree hold? Scores and class ids, read as data, never as code; or a named failure."""

from __future__ import annotations

import errno
import io
import os
import pickle
import pickletools
import re
import stat
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from annotate.errors import AnnotateError, PictureError
from storage import Status
from storage.files.atomic_file import write_atomically
from storage.labelmap import class_dtype

MAX_BYTES = 64 * 2**20  # thousands of times the size of a label
# Class ids are stored in the type of the scores, which represents every whole number up to this one exactly.
_WHOLE_NUMBERS = {"float16": 2**11, "float32": 2**24}


def check_class_count(class_count: int, score_type: str) -> None:
    """Check that label files of this type can represent so many classes.

    Raises:
        AnnotateError: a class id could be rounded to another.
    """
    if class_count > (most := _WHOLE_NUMBERS[score_type]):
        raise AnnotateError(
            f"{class_count:,} classes do not fit a tree of {score_type} label files: class ids are also stored as "
            f"{score_type}, which has all whole numbers only up to {most:,}; larger ids would be rounded to those of "
            f"other classes. Such a tree can hold at most {most:,} classes"
        )


def read_label(
    root: Path, name: str, *, score_type: str, class_count: int
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.floating[Any]]]:
    """The classes [h, w, k] and logits [h, w, k] of one file; the logits are unchanged to the bit.

    Args:
        root: the tree's folder, resolved.
        name: the file's path below it, checked, with / as separator.
        score_type: "float16" or "float32".
        class_count: number of classes; ids must be below it.

    Raises:
        PictureError: REFUSED, UNREADABLE or UNDECODABLE; the reason names the file.
    """
    tensor = _tensor(_bytes(root, name), name)
    found = str(tensor.dtype).removeprefix("torch.")
    if found != score_type or tensor.ndim != 4 or tensor.shape[0] != 2 or not tensor.numel():
        raise _no_label(
            f"{name} holds {found} {list(tensor.shape)}, where {score_type} [2, k, h, w] is expected: logits and class "
            "ids, rank, row, column"
        )
    scores, ids = tensor.numpy().transpose(0, 2, 3, 1)
    if not np.isfinite(scores).all():
        raise _no_label(f"{name} holds a logit that is not finite: {scores[~np.isfinite(scores)][0]}")
    known = (ids >= 0) & (ids < class_count) & (ids == np.floor(ids))
    if not known.all():
        raise _no_label(
            f"{name} holds the class id {ids[~known][0]:g}, where whole numbers from 0 to {class_count - 1} are "
            "expected"
        )
    in_order = np.sort(ids, axis=-1)
    if (twice := in_order[..., 1:] == in_order[..., :-1]).any():
        raise _no_label(f"{name} holds the class id {in_order[..., 1:][twice][0]:g} twice at one location")
    return ids.astype(class_dtype(class_count)), scores


def write_label(folder: Path, name: str, values: NDArray[np.floating[Any]]) -> None:
    """Write logits and class ids [2, k, h, w] as a file of a resolved folder, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    data = io.BytesIO()
    torch.save(torch.from_numpy(values), data)
    write_atomically(folder / name, data.getbuffer())


def _bytes(root: Path, name: str) -> bytes:
    """The bytes of the file, if it is a regular file below the root and no larger than a label can be."""
    path = f"{root}/{name}"
    try:
        # The last part must not be a link; O_NOFOLLOW does not check the parts before it.
        if os.path.islink(path) or not Path(os.path.realpath(path)).is_relative_to(root):
            raise PictureError(Status.REFUSED, f"{name} is a link, or lies behind one that leaves the tree")
        with open(path, "rb", opener=_open) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise PictureError(Status.UNREADABLE, f"{name} is not a regular file")
            if found.st_size > MAX_BYTES:
                raise PictureError(
                    Status.REFUSED, f"{name} has {found.st_size:,} bytes; a label has at most {MAX_BYTES:,}"
                )
            return file.read(found.st_size)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise PictureError(Status.MISSING, f"the label file {name} is gone") from None
        raise PictureError(Status.UNREADABLE, f"{name}: {error.strerror or type(error).__name__}") from error


def _open(path: str, flags: int) -> int:
    return os.open(
        path, flags | os.O_NOFOLLOW | os.O_NONBLOCK
    )  # without O_NONBLOCK, opening a pipe could block forever


def _tensor(data: bytes, name: str) -> torch.Tensor:
    """The single tensor of a file that torch.save wrote."""
    try:
        _check_archive(data, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old file formats
            # weights_only builds nothing but tensors (safe since torch 2.6; earlier ones have CVE-2025-32434).
            loaded = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        if not isinstance(loaded, torch.Tensor) or loaded.layout != torch.strided or loaded.is_meta:
            raise _no_label(f"{name} holds a {type(loaded).__name__}, where one plain tensor is expected")
        if loaded.nbytes > MAX_BYTES:  # a few stored bytes may claim to be a large tensor by strides of 0
            raise PictureError(
                Status.REFUSED, f"{name} unfolds to {loaded.nbytes:,} bytes; a label has at most {MAX_BYTES:,}"
            )
        return loaded.detach().resolve_neg()
    except PictureError:
        raise
    except pickle.UnpicklingError as error:
        if not _is_pickle(data):
            raise _no_label(f"{name} is not a file that torch.save wrote") from None
        asked = re.search(r"\bGLOBAL ([\w.]{1,80})", str(error))
        raise PictureError(
            Status.REFUSED,
            f"{name} holds code or types that a label does not need{f' ({asked[1]})' if asked else ''}; none of it "
            "was run",
        ) from None
    except Exception as error:  # on damaged bytes torch raises exceptions of many types
        first = str(error).partition("\n")[0].partition(". ")[0][:200]
        raise _no_label(f"{name} is damaged: {first or type(error).__name__}") from error


def _check_archive(data: bytes, name: str) -> None:
    """Check an archive's own checksums and its unpacked size: torch checks neither, and unpacks compressed entries."""
    if not data.startswith(b"PK"):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if (size := sum(entry.file_size for entry in archive.infolist())) > MAX_BYTES:
            raise PictureError(Status.REFUSED, f"{name} unfolds to {size:,} bytes; a label has at most {MAX_BYTES:,}")
        if archive.testzip() is not None:
            raise zipfile.BadZipFile("its bytes fail their own CRC-32")


def _is_pickle(data: bytes) -> bool:
    """Whether the bytes are a whole pickle, which torch refused for its contents, and not something else."""
    if data.startswith(b"PK"):
        return True
    try:
        for _ in pickletools.genops(data):  # only parses; nothing is run
            pass
    except Exception:  # parsing arbitrary bytes raises exceptions of many types
        return False
    return True


def _no_label(reason: str) -> PictureError:
    return PictureError(Status.UNDECODABLE, reason)
