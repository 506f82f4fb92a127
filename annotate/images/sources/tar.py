"""How do tar files become a collection? One pass over their headers makes an index of the positions of members."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from annotate.errors import AnnotateError, PictureError
from annotate.images.keys import is_sound
from annotate.images.per_process import Opened
from annotate.images.suffixes import is_picture, is_tar
from annotate.images.targets import as_targets
from storage import Status

# The first bytes of compressed files, whatever their names.
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_END = 1 << 16  # bytes after the last member that are checked; tar pads its files to 10 KiB
_CLASS_BYTES = 32  # a larger .cls member holds no number


class Span(NamedTuple):
    """The position of a picture: the number of its tar file, its first byte there, and its size in bytes."""

    file: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Spans(Sequence[Span]):
    """The position of each picture, in three arrays [n]; a slice is a view of them, and is pickled alone."""

    files: NDArray[np.uint32]
    offsets: NDArray[np.uint64]
    sizes: NDArray[np.uint64]

    def __repr__(self) -> str:
        """The number of pictures, without the arrays."""
        return f"Spans({len(self):,} pictures)"

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Span: ...

    @overload
    def __getitem__(self, index: slice) -> Spans: ...

    def __getitem__(self, index: int | slice) -> Span | Spans:
        if isinstance(index, slice):
            return Spans(self.files[index], self.offsets[index], self.sizes[index])
        return Span(int(self.files[index]), int(self.offsets[index]), int(self.sizes[index]))


@dataclass(frozen=True, repr=False)
class TarReader:
    """Reads members of tar files by their position, without reading headers again.

    root:  the folder of the files
    files: the name of each file, and its size in bytes when it was indexed
    """

    root: Path
    files: tuple[tuple[str, int], ...]
    _opened: Opened[_Descriptor] = field(default_factory=Opened, init=False, repr=False, compare=False)

    def __repr__(self) -> str:
        """The folder and the number of files."""
        return f"TarReader({str(self.root)!r}, {len(self.files):,} files)"

    def read(self, handle: Span, /) -> bytes:
        """The bytes of the member.

        Raises:
            PictureError: MISSING if the tar file is gone; UNREADABLE if it has changed, or with the system's reason.
        """
        name, size = self.files[handle.file]
        try:
            file = self._opened.get(handle.file, lambda: _Descriptor(self.root / name))
            if file.size != size:  # there may be other pictures at the indexed positions now
                raise PictureError(
                    Status.UNREADABLE, f"{name} has changed: it has {file.size:,} bytes, and had {size:,} when indexed"
                )
            data = os.pread(file.number, handle.size, handle.offset)
        except FileNotFoundError:
            raise PictureError(Status.MISSING, f"{name} is gone") from None
        except OSError as error:
            raise PictureError(Status.UNREADABLE, f"{name}: {error.strerror or type(error).__name__}") from error
        if len(data) != handle.size:
            raise PictureError(Status.UNREADABLE, f"{name} ends within the picture")
        return data


class TarImages:
    """The pictures in a tar file, or in all tar files of a folder, such as the shards of a WebDataset.

    Keys are the names of members. The order is that of the files' names, and within a file that of its members. If a
    name occurs twice in one file, the later member counts, as in extraction. If two files have a member of the same
    name, all keys begin with the name of their file: "shard-000.tar/cat.jpg".

    As in WebDataset, members of one sample share their name up to the first dot of its last part, and their extension
    is what follows that dot. Targets are the numbers in members with the extension cls, if every picture has one.

    Raises:
        AnnotateError: a file is compressed, truncated or not a tar file, a member's name is not a valid key, two .cls
            members of one sample differ, or there is no picture.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        path = Path(address).absolute()
        root, names = (path, sorted(filter(is_tar, os.listdir(path)))) if path.is_dir() else (path.parent, [path.name])
        files = {name: _index(root / name) for name in names}
        members = [(name, member) for name, index in files.items() for member in index.spans]
        self._path = path
        self.left_out = sum(index.left_out for index in files.values())
        if not members:
            raise AnnotateError(
                f"{address} holds no picture: none of the {self.left_out:,} members of {len(files)} tar files has "
                "the name of one"
            )
        alone = len({member for _, member in members}) == len(members)
        self.keys = [member if alone else f"{name}/{member}" for name, member in members]
        self.handles = _spans(list(files.values()))
        self.reader = TarReader(root, tuple((name, index.size) for name, index in files.items()))
        classes = [files[name].classes.get(_sample(member)[0]) for name, member in members]
        self.target_names: tuple[str, ...] | None = None
        self.targets: list[int] | None = None
        if None not in classes:
            self.targets, _ = as_targets(classes, lambda row: f"the .cls member of {self.keys[row]!r} in {address}")

    def __repr__(self) -> str:
        """The kind, the address and the number of pictures."""
        return f"TarImages({str(self._path)!r}, {len(self.keys):,} pictures)"


@dataclass(frozen=True, slots=True)
class _Index:
    """The contents of one tar file.

    spans:    offset and size of each picture by its name, in the order of members
    classes:  the number in each .cls member by its sample; None if it holds no number
    left_out: number of members that are not pictures, or cannot be read as such
    size:     bytes of the file
    """

    spans: dict[str, tuple[int, int]]
    classes: dict[str, int | None]
    left_out: int
    size: int


class _Descriptor:
    """A file opened for `pread`, which uses no file position that threads or forked processes could change."""

    __slots__ = ("number", "size")

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.number).st_size

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


def _spans(indexes: Sequence[_Index]) -> Spans:
    counts = [len(index.spans) for index in indexes]
    spans = np.array([span for index in indexes for span in index.spans.values()], np.uint64).reshape(-1, 2)
    return Spans(
        np.repeat(np.arange(len(indexes), dtype=np.uint32), counts),
        np.ascontiguousarray(spans[:, 0]),
        np.ascontiguousarray(spans[:, 1]),
    )


def _index(path: Path) -> _Index:
    """Index a tar file. Only headers and .cls members are read.

    Raises:
        AnnotateError: it cannot be read from its first member to its end mark, a picture's name is not a valid key, or
            two members give one sample different classes.
    """
    try:
        _refuse_compressed(path)
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            return _walk(archive, file.fileno(), path)
    except OSError as error:
        raise AnnotateError(f"cannot read the tar file {path}: {error.strerror or error}") from error
    except (EOFError, ValueError, tarfile.TarError) as error:
        raise AnnotateError(
            f"cannot index {path}: {error}. It is truncated, damaged or not a tar file; download or copy it again"
        ) from error


def _walk(archive: tarfile.TarFile, number: int, path: Path) -> _Index:
    spans: dict[str, tuple[int, int]] = {}
    classes: dict[str, int | None] = {}
    left_out = 0
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined] # otherwise it would keep all of them in memory
        if member.size < 0:
            raise tarfile.ReadError(f"the member {member.name!r} has {member.size} bytes")
        name = "/".join(part for part in member.name.split("/") if part != ".")  # `tar -c .` writes ./cat.jpg
        if member.isdir() or any(part.startswith(".") and part != ".." for part in name.split("/")):
            continue
        # A sparse member is not stored as plain bytes, and a link has none.
        whole = member.isreg() and not member.issparse()
        if whole and is_picture(name):
            if not is_sound(name):
                raise AnnotateError(
                    f"cannot use {path}: the name of its member {member.name!r} is not a valid key. A key is a "
                    "relative path in UTF-8 without ..; pack the pictures again under such names"
                )
            spans.pop(name, None)  # a later member of the same name replaces an earlier one
            spans[name] = member.offset_data, member.size
            continue
        left_out += 1
        sample, extension = _sample(name)
        if whole and extension == "cls":
            found = _class(os.pread(number, min(member.size, _CLASS_BYTES + 1), member.offset_data))
            if classes.setdefault(sample, found) != found:
                raise AnnotateError(
                    f"cannot use {path}: its member {name!r} occurs twice, with the class {_or_none(found)} and "
                    f"earlier with {_or_none(classes[sample])}. Pack the sample again with one of them"
                )
    # tarfile treats a damaged header as the end, and would silently leave out everything after it.
    end = os.pread(number, _END, archive.offset)
    if len(end) < tarfile.BLOCKSIZE or any(end[: tarfile.BLOCKSIZE]):
        raise tarfile.ReadError(f"at byte {archive.offset:,} is neither a member nor the end mark")
    if any(end):
        raise AnnotateError(
            f"cannot use {path}: there is more data after its end mark at byte {archive.offset:,}. If tar files were "
            "joined by `cat`, put the original files into a folder, or join them by `tar --concatenate`"
        )
    return _Index(spans, classes, left_out, os.fstat(number).st_size)


def _refuse_compressed(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(8)
    for mark, kind in _COMPRESSED.items():
        if start.startswith(mark):
            raise AnnotateError(
                f"cannot use {path}: it is compressed ({kind}), so a picture cannot be read without everything before "
                "it. Decompress it; pictures are compressed already, so it hardly becomes larger"
            )


def _sample(name: str) -> tuple[str, str]:
    """A member's sample, which is its name up to the first dot after the last slash; and its extension, the rest."""
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension


def _class(data: bytes) -> int | None:
    """The whole number that a .cls member holds, or None."""
    whole = len(data) <= _CLASS_BYTES and re.fullmatch(rb"-?\d+", data.strip())
    return int(data) if whole else None


def _or_none(found: int | None) -> str:
    return "none" if found is None else str(found)
