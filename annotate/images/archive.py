"""How are tar files a collection of pictures? By an index of where each member lies, built in one pass over headers."""

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
from annotate.images.names import is_picture, is_tar
from annotate.images.opened import Opened
from annotate.images.targets import as_targets
from storage import Status

# The first bytes of compressed files, whatever they are called.
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_END = 1 << 16  # bytes after the last member that are looked at; tar pads its files to 10 KiB
_CLASS_BYTES = 32  # a .cls member that is larger holds no number


class Place(NamedTuple):
    """Where a picture lies: in which file of the collection, from which byte on, and how many bytes."""

    file: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Places(Sequence[Place]):
    """The place of each picture, in three arrays; a slice is a view of them, and travels alone."""

    files: NDArray[np.uint32]
    offsets: NDArray[np.uint64]
    sizes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Place: ...

    @overload
    def __getitem__(self, index: slice) -> Places: ...

    def __getitem__(self, index: int | slice) -> Place | Places:
        if isinstance(index, slice):
            return Places(self.files[index], self.offsets[index], self.sizes[index])
        return Place(int(self.files[index]), int(self.offsets[index]), int(self.sizes[index]))


@dataclass(frozen=True)
class TarReader:
    """Reads members of tar files by their place, without looking at a header again.

    root:   the folder that the files lie in
    files:  the name of each, and how many bytes it had when its index was made
    """

    root: Path
    files: tuple[tuple[str, int], ...]
    _opened: Opened[_Descriptor] = field(default_factory=Opened, init=False, repr=False, compare=False)

    def read(self, handle: Place, /) -> bytes:
        """The bytes of the member.

        Raises:
            PictureError: MISSING where the tar file is gone; UNREADABLE where it has changed, or with the system's
                reason.
        """
        name, size = self.files[handle.file]
        try:
            file = self._opened.get(handle.file, lambda: _Descriptor(self.root / name))
            if file.size != size:  # other pictures may now lie at the places of the index
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
    """The pictures in a tar file, or in all tar files that lie in a folder: WebDataset's shards, for example.

    Keys are the members' names. The order is that of the files' names, and in each file that of its members. A name
    that occurs twice in one file is its later member, as when it is extracted. Where two files have a member of the
    same name, every key begins with the name of its file: "shard-000.tar/cat.jpg".

    Members of one sample have the same name up to the first dot of its last part; what follows that dot is their
    extension, as WebDataset writes them. Targets are the numbers in the members with the extension cls, where every
    picture has one.

    Raises:
        AnnotateError: a file is compressed, cut short or no tar, a member's name is no key, two .cls members of one
            sample differ, or there is no picture.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        path = Path(address).absolute()
        root, names = (path, sorted(filter(is_tar, os.listdir(path)))) if path.is_dir() else (path.parent, [path.name])
        files = {name: _index(root / name) for name in names}
        members = [(name, member) for name, index in files.items() for member in index.places]
        self.left_out = sum(index.left_out for index in files.values())
        if not members:
            raise AnnotateError(
                f"{address} holds no picture: none of the {self.left_out:,} members of {len(files)} tar files has "
                "the name of one"
            )
        alone = len({member for _, member in members}) == len(members)
        self.keys = [member if alone else f"{name}/{member}" for name, member in members]
        self.handles = _places(list(files.values()))
        self.reader = TarReader(root, tuple((name, index.size) for name, index in files.items()))
        classes = [files[name].classes.get(_sample(member)[0]) for name, member in members]
        self.target_names: tuple[str, ...] | None = None
        self.targets: list[int] | None = None
        if None not in classes:
            self.targets, _ = as_targets(classes, lambda row: f"the .cls member of {self.keys[row]!r} in {address}")


@dataclass(frozen=True, slots=True)
class _Index:
    """What one tar file holds.

    places:   offset and size of each picture, in the order of their members
    classes:  the number in each .cls member, or None where it holds no number, by the sample that it is of
    left_out: how many members are no pictures that could be read
    size:     bytes of the file
    """

    places: dict[str, tuple[int, int]]
    classes: dict[str, int | None]
    left_out: int
    size: int


class _Descriptor:
    """A file that is open for `pread`, which has no position that threads or forked processes could disturb."""

    __slots__ = ("number", "size")

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.number).st_size

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


def _places(indexes: Sequence[_Index]) -> Places:
    counts = [len(index.places) for index in indexes]
    spans = np.array([span for index in indexes for span in index.places.values()], np.uint64).reshape(-1, 2)
    return Places(
        np.repeat(np.arange(len(indexes), dtype=np.uint32), counts),
        np.ascontiguousarray(spans[:, 0]),
        np.ascontiguousarray(spans[:, 1]),
    )


def _index(path: Path) -> _Index:
    """Where the members of a tar file lie. Only headers are read, and .cls members.

    Raises:
        AnnotateError: it cannot be read from its first member to its end mark, a picture's name is no key, or two
            members say different classes of one sample.
    """
    try:
        _refuse_compressed(path)
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            return _walk(archive, file.fileno(), path)
    except OSError as error:
        raise AnnotateError(f"cannot read the tar file {path}: {error.strerror or error}") from error
    except (EOFError, ValueError, tarfile.TarError) as error:
        raise AnnotateError(
            f"cannot index {path}: {error}. It is cut short, damaged or no tar file; get it anew"
        ) from error


def _walk(archive: tarfile.TarFile, number: int, path: Path) -> _Index:
    places: dict[str, tuple[int, int]] = {}
    classes: dict[str, int | None] = {}
    left_out = 0
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined] # or it would keep all of them
        if member.size < 0:
            raise tarfile.ReadError(f"the member {member.name!r} has {member.size} bytes")
        name = "/".join(part for part in member.name.split("/") if part != ".")  # `tar -c .` writes ./cat.jpg
        if member.isdir() or any(part.startswith(".") and part != ".." for part in name.split("/")):
            continue
        # The bytes of a sparse member do not lie there as they are, and a link has none.
        whole = member.isreg() and not member.issparse()
        if whole and is_picture(name):
            if not is_sound(name):
                raise AnnotateError(
                    f"cannot use {path}: no key can name its member {member.name!r}. A key is a relative path in "
                    "UTF-8 without .. in it; pack the pictures anew under such names"
                )
            places.pop(name, None)  # a later member of the same name takes the place of an earlier one
            places[name] = member.offset_data, member.size
            continue
        left_out += 1
        sample, extension = _sample(name)
        if whole and extension == "cls":
            found = _class(os.pread(number, min(member.size, _CLASS_BYTES + 1), member.offset_data))
            if classes.setdefault(sample, found) != found:
                raise AnnotateError(
                    f"cannot use {path}: its member {name!r} occurs twice, and says the class {_or_none(found)} where "
                    f"an earlier one says {_or_none(classes[sample])}. Pack the sample anew, with one of them"
                )
    # tarfile takes a damaged header for the end, and so would leave out whatever comes after it.
    end = os.pread(number, _END, archive.offset)
    if len(end) < tarfile.BLOCKSIZE or any(end[: tarfile.BLOCKSIZE]):
        raise tarfile.ReadError(f"at byte {archive.offset:,} is neither a member nor the end mark")
    if any(end):
        raise AnnotateError(
            f"cannot use {path}: more follows after its end mark at byte {archive.offset:,}. If tar files were joined "
            "by `cat`, put them into a folder as they were, or join them by `tar --concatenate`"
        )
    return _Index(places, classes, left_out, os.fstat(number).st_size)


def _refuse_compressed(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(8)
    for mark, kind in _COMPRESSED.items():
        if start.startswith(mark):
            raise AnnotateError(
                f"cannot use {path}: it is compressed ({kind}), so no picture can be read without all before it. "
                "Decompress it; pictures are compressed themselves, so it hardly becomes larger"
            )


def _sample(name: str) -> tuple[str, str]:
    """The sample of a member, its name up to the first dot after the last slash; and its extension, all after it."""
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension


def _class(data: bytes) -> int | None:
    """The whole number that a .cls member holds, or None."""
    whole = len(data) <= _CLASS_BYTES and re.fullmatch(rb"-?\d+", data.strip())
    return int(data) if whole else None


def _or_none(found: int | None) -> str:
    return "none" if found is None else str(found)
