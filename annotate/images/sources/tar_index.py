"""Where are the pictures in a tar file? One pass over its headers finds the position of each, and the classes."""

from __future__ import annotations

import io
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from annotate.errors import AnnotateError
from annotate.images.keys import is_sound
from annotate.images.suffixes import is_picture, is_tar
from storage.keys.key import MOST_KEY_BYTES, shown_key

# The first bytes of compressed files, whatever their names.
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_END = 1 << 16  # bytes after the last member that are checked; tar pads its files to 10 KiB
_MOST_HEADERS = 1 << 20  # bytes of headers before one member: its name, attributes, and where its holes are
_CLASS_BYTES = 32  # a larger .cls member holds no number

Place: TypeAlias = tuple[int, int, bool]
"""Offset and size of a member, and whether it is sparse; the offset of a sparse one is that of its header."""


@dataclass(frozen=True, slots=True)
class TarIndex:
    """The contents of one tar file.

    spans:    offset and size of each picture, and whether it is sparse, by its name, in the order of members
    classes:  the number in each .cls member by its sample; None if it holds no number
    left_out: number of members that are not pictures, or cannot be read as such
    links:    how many of these have the name of a picture, but are symbolic links, hard links to nothing, or no files
    inner:    the name of one that is itself a tar file
    size:     bytes of the file
    """

    spans: dict[str, Place]
    classes: dict[str, int | None]
    left_out: int
    links: int
    inner: str | None
    size: int


class _Headers(io.BufferedReader):
    """A tar file of which only headers are read, and of those not more than `left` bytes.

    A header says how long a name is, or a list of attributes, and tarfile reads all of it at once: in a file with holes
    that may be gigabytes which take no room on the disk.

    left: bytes that may still be read
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.left = _MOST_HEADERS

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes.

        Raises:
            tarfile.ReadError: they are more than may be read.
        """
        self.left -= self.left + 1 if size is None or size < 0 else size
        if self.left < 0:
            raise tarfile.ReadError(
                f"the headers of the member at byte {self.tell():,} say that they have more than "
                f"{_MOST_HEADERS:,} bytes"
            )
        return super().read(size)


def index_of(path: Path) -> TarIndex:
    """Index a tar file. Only headers and .cls members are read.

    Raises:
        AnnotateError: it cannot be read from its first member to its end mark, a picture's name is not a valid key, or
            two members give one sample different classes.
    """
    try:
        _refuse_compressed(path)
        with _Headers(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            return _walk(archive, file, path)
    except OSError as error:
        raise AnnotateError(f"cannot read the tar file {path}: {error.strerror or error}") from error
    except RecursionError as error:
        raise AnnotateError(
            f"cannot index {path}: one member has hundreds of headers, each for the next one. It is damaged, or was "
            "made to be so; download or copy it again"
        ) from error
    except (EOFError, ValueError, tarfile.TarError) as error:
        raise AnnotateError(
            f"cannot index {path}: {error}. It is truncated, damaged or not a tar file; download or copy it again"
        ) from error


def _walk(archive: tarfile.TarFile, file: _Headers, path: Path) -> TarIndex:
    number = file.fileno()
    spans: dict[str, Place | None] = {}  # None for a hard link whose member is not among them
    classes: dict[str, int | None] = {}
    linked: dict[str, str] = {}  # the members of those links, by the names of the links
    left_out = links = 0
    inner = None
    while (member := _next(archive, file)) is not None:
        archive.members.clear()  # type: ignore[attr-defined] # otherwise it would keep all of them in memory
        if member.size < 0:
            raise tarfile.ReadError(f"the member {member.name!r} has {member.size} bytes")
        name = _name(member.name)
        if member.isdir() or any(part.startswith(".") and part != ".." for part in name.split("/")):
            continue
        if is_picture(name) and (member.isreg() or member.islnk()):
            if not is_sound(name):
                raise AnnotateError(
                    f"cannot use {path}: the name of its member {shown_key(member.name)} is not a valid key. A key "
                    f"is a relative path in UTF-8 without .., of at most {MOST_KEY_BYTES:,} bytes; pack the pictures "
                    "again under such names"
                )
            target = _name(member.linkname)
            place = spans.get(target) if member.islnk() else _place(member)
            spans.pop(name, None)  # a later member of the same name replaces an earlier one
            linked.pop(name, None)
            spans[name] = place
            if place is None:
                linked[name] = target
            continue
        left_out += 1
        links += is_picture(name)
        inner = inner or (member.name if member.isreg() and is_tar(name.rpartition("/")[2]) else None)
        sample, extension = sample_of(name)
        if extension == "cls" and (member.islnk() or (member.isreg() and not member.issparse())):
            if member.islnk():
                found = classes.get(sample_of(_name(member.linkname))[0])
            else:
                found = _class(os.pread(number, min(member.size, _CLASS_BYTES + 1), member.offset_data))
            if classes.setdefault(sample, found) != found:
                raise AnnotateError(
                    f"cannot use {path}: its member {name!r} occurs twice, with the class {_or_none(found)} and "
                    f"earlier with {_or_none(classes[sample])}. Pack the sample again with one of them"
                )
    _check_end(archive, number, path)
    if linked:
        places = _places_of(path, {*linked.values()})
        spans |= {name: places.get(target) for name, target in linked.items()}
    found_here = {name: place for name, place in spans.items() if place is not None}
    lost = len(spans) - len(found_here)
    return TarIndex(found_here, classes, left_out + lost, links + lost, inner, os.fstat(number).st_size)


def _next(archive: tarfile.TarFile, file: _Headers) -> tarfile.TarInfo | None:
    file.left = _MOST_HEADERS
    return archive.next()


def _name(stored: str) -> str:
    """The name of a member without the parts "." of it: `tar -c .` writes ./cat.jpg."""
    return "/".join(part for part in stored.split("/") if part != ".")


def _place(member: tarfile.TarInfo) -> Place:
    sparse = member.issparse()
    return member.offset if sparse else member.offset_data, member.size, sparse


def _places_of(path: Path, names: set[str]) -> dict[str, Place]:
    """The places of these members, which are no pictures by their names, but have hard links that are."""
    with _Headers(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        members = iter(lambda: _next(archive, file), None)
        return {
            _name(member.name): _place(member) for member in members if member.isreg() and _name(member.name) in names
        }


def _check_end(archive: tarfile.TarFile, number: int, path: Path) -> None:
    """Check that the members that were read are all: at the end is the end mark, and nothing after it."""
    # tarfile treats a damaged header as the end, and would silently leave out everything after it.
    end = os.pread(number, _END, archive.offset)
    if len(end) < tarfile.BLOCKSIZE or any(end[: tarfile.BLOCKSIZE]):
        raise tarfile.ReadError(f"at byte {archive.offset:,} is neither a member nor the end mark")
    if any(end):
        raise AnnotateError(
            f"cannot use {path}: there is more data after its end mark at byte {archive.offset:,}. If tar files were "
            "joined by `cat`, put the original files into a folder, or join them by `tar --concatenate`"
        )


def _refuse_compressed(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(8)
    for mark, kind in _COMPRESSED.items():
        if start.startswith(mark):
            raise AnnotateError(
                f"cannot use {path}: it is compressed ({kind}), so a picture cannot be read without everything before "
                "it. Decompress it; pictures are compressed already, so it hardly becomes larger"
            )


def sample_of(name: str) -> tuple[str, str]:
    """A member's sample, which is its name up to the first dot after the last slash; its extension in lower case."""
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension.lower()


def _class(data: bytes) -> int | None:
    """The whole number that a .cls member holds, or None."""
    whole = len(data) <= _CLASS_BYTES and re.fullmatch(rb"-?\d+", data.strip())
    return int(data) if whole else None


def _or_none(found: int | None) -> str:
    return "none" if found is None else str(found)
