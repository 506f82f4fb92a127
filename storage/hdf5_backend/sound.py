"""Is a dataset stored in its own file, in the expected chunks? Checked before its values are read.

HDF5 can read values from any other file that a link or a header names, and decompresses a chunk to any size.
"""

from __future__ import annotations

import re
from typing import Any

import h5py
import numpy as np
from h5py import h5z

PACKED = frozenset({h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32})
CHECKED = frozenset({h5z.FILTER_FLETCHER32})
_LINKS = 8  # in a chain, at most
# How HDF5 says what the system answered: "Can't read data (file read failed: time = …, errno = 5, …". Words of a store,
# such as the names that a link leads to, come after another beginning, or after a quote.
_SYSTEM = re.compile(r"[A-Z][a-z]*('t)?[a-z ]* \([a-z ]+(: (name|time) = .*)?, errno = [1-9]", re.DOTALL)


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset that is stored in this file alone.

    Raises:
        KeyError: there is none of this name.
        ValueError: it is in another file, or its values are.
    """
    found = own(file, name)
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"{name!r} is not a dataset")
    return found


def own(file: h5py.File, name: str) -> h5py.Dataset | h5py.Group | h5py.Datatype:
    """The object of this name, which must be stored in this file. Links within the file are followed.

    Raises:
        KeyError: there is nothing of this name.
        ValueError: it is in another file, or its values are.
    """
    path = name
    for _ in range(_LINKS):
        group: Any = file
        *above, last = path.strip("/").split("/")
        for number, part in enumerate([*above, last]):
            link = group.get(part, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ValueError(f"{name!r} is a link to another file, {link.filename!r}, which is not followed")
            if isinstance(link, h5py.SoftLink):
                rest = "/".join([link.path, *above[number + 1 :], *[last] * (number < len(above))])
                path = rest if rest.startswith("/") else f"{group.name}/{rest}"
                break
            if number < len(above) and not isinstance(group := group[part], h5py.Group):
                raise KeyError(f"{name!r} is below something that is not a group")
        else:
            found = group[last]
            if isinstance(found, h5py.Dataset):
                refuse_elsewhere(found.id, name)
            return found
    raise ValueError(f"{name!r} is a chain of more than {_LINKS} links")


def refuse_elsewhere(found: h5py.h5d.DatasetID, name: str) -> None:
    """Check that the values of a dataset are in its own file.

    Raises:
        ValueError: they are in others.
    """
    plan = found.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError(f"{name!r} is a virtual dataset: its values are in other files, which are not read")
    if plan.get_external_count():
        raise ValueError(f"the values of {name!r} are in another file, which is not read")


def is_plain(found: h5py.h5d.DatasetID, dtype: np.dtype[Any]) -> bool:
    """Whether a dataset has plain little-endian numbers of this type. To numpy, an enum of them has the same type."""
    is_same: bool = found.get_type().equal(h5py.h5t.py_create(dtype.newbyteorder("<")))
    return is_same


def check_chunks(found: h5py.h5d.DatasetID, name: str, chunk: tuple[int, ...], filters: frozenset[int]) -> None:
    """Check that a dataset has all its chunks, of this shape and with these filters, none too large.

    Raises:
        ValueError: they are not.
    """
    plan = found.get_create_plist()
    if plan.get_layout() != h5py.h5d.CHUNKED or plan.get_chunk() != chunk:
        raise ValueError(f"{name!r} does not have chunks of the shape {chunk}")
    packed = {plan.get_filter(number)[0] for number in range(plan.get_nfilters())}
    if packed != filters or plan.get_nfilters() != len(filters):
        raise ValueError(f"{name!r} has the filters {sorted(packed)}, not {sorted(filters)}")
    expected = int(np.prod([-(-side // step) for side, step in zip(found.shape, chunk, strict=True)]))
    raw = int(np.prod(chunk)) * found.dtype.itemsize
    # gzip hardly enlarges what it cannot compress, and decompresses to at most 1,032 times its size.
    most = raw + raw // 64 + 1024
    sizes: list[int] = []

    def note(info: h5py.h5d.StoreInfo) -> None:
        sizes.append(most + 1 if info.filter_mask else info.size)  # a chunk that skips a filter is not checked

    found.chunk_iter(note)
    if len(sizes) != expected or max(sizes, default=0) > most:
        raise ValueError(
            f"{name!r} has {len(sizes)} chunks of up to {max(sizes, default=0)} bytes; {expected} of {most}"
        )


def text(attributes: h5py.AttributeManager, name: str, most: int) -> bytes:
    """An attribute that is one text of fixed length. HDF5 does not check other kinds, and may hang when it reads them.

    Raises:
        KeyError: there is none of this name.
        ValueError: it is something else, or longer than `most` bytes.
    """
    found = attributes.get_id(name)
    if found.shape != () or found.dtype.kind != "S" or found.dtype.itemsize > most:
        raise ValueError(f"the attribute {name!r} is {found.dtype} {found.shape}, not a text of at most {most:,} bytes")
    value: bytes = attributes[name]
    return bytes(value)


def is_of_the_system(error: BaseException) -> bool:
    """Whether the error comes from the operating system and not from HDF5, which could not parse what it had read.

    h5py raises a failed read as an error of any type, with the number of the system's error in its text. A file that
    does not exist counts too; `storage.files.contained.is_missing` tells it apart. What a store calls "errno = 5" does
    not count, where HDF5 or our own errors quote it.
    """
    if getattr(error, "errno", None) is not None:
        return True
    said = error.args[0] if error.args else ""  # str() of a KeyError has quotes around it
    return isinstance(said, str) and _SYSTEM.match(said) is not None
