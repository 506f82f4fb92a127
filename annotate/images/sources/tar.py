"""How do tar files become a collection? One pass over their headers makes an index of the positions of members."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from annotate.errors import AnnotateError, PictureError
from annotate.images.per_process import Opened
from annotate.images.source import refuse_large
from annotate.images.sources.tar_index import TarIndex, index_of, sample_of
from annotate.images.suffixes import is_tar
from annotate.images.targets import as_targets
from storage import Status

_LARGEST_SPARSE = 1 << 30  # bytes; a few bytes of a tar file may claim to be more


class Span(NamedTuple):
    """The position of a picture: the number of its tar file, its first byte there, and its size in bytes.

    A sparse member, whose holes are not stored, has the first byte of its header there.
    """

    file: int
    offset: int
    size: int
    sparse: bool = False


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Spans(Sequence[Span]):
    """The position of each picture, in four arrays [n]; a slice is a view of them, and is pickled alone."""

    files: NDArray[np.uint32]
    offsets: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    sparse: NDArray[np.bool_]

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
            return Spans(self.files[index], self.offsets[index], self.sizes[index], self.sparse[index])
        file, offset, size = (int(values[index]) for values in (self.files, self.offsets, self.sizes))
        return Span(file, offset, size, sparse=bool(self.sparse[index]))


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
            PictureError: MISSING if the tar file is gone; UNREADABLE if it has changed, or with the system's reason;
                REFUSED for a member that is larger than any picture, or a sparse one of more than a gigabyte.
        """
        name, size = self.files[handle.file]
        try:
            file = self._opened.get(handle.file, lambda: _Descriptor(self.root / name))
            if file.size != size:  # there may be other pictures at the indexed positions now
                raise PictureError(
                    Status.UNREADABLE, f"{name} has changed: it has {file.size:,} bytes, and had {size:,} when indexed"
                )
            refuse_large(handle.size)
            if handle.sparse:
                data = _expanded(self.root / name, handle)
            else:
                data = os.pread(file.number, handle.size, handle.offset)
        except FileNotFoundError:
            raise PictureError(Status.MISSING, f"{name} is gone") from None
        except OSError as error:
            raise PictureError(Status.UNREADABLE, f"{name}: {error.strerror or type(error).__name__}") from error
        except (EOFError, ValueError, tarfile.TarError) as error:
            raise PictureError(Status.UNREADABLE, f"{name}: a sparse member is damaged: {error}") from error
        if len(data) != handle.size:
            raise PictureError(Status.UNREADABLE, f"{name} ends within the picture")
        return data


class TarImages:
    """The pictures in a tar file, or in all tar files of a folder, such as the shards of a WebDataset.

    Keys are the names of members, and of hard links to them. The order is that of the files' names, and within a file
    that of its members. If a name occurs twice in one file, the later member counts, as in extraction. If two files
    have a member of the same name, all keys begin with the name of their file: "shard-000.tar/cat.jpg".

    As in WebDataset, members of one sample share their name up to the first dot of its last part, and their extension
    is what follows that dot, in any case. Targets are the numbers in members with the extension cls, if every picture
    has one.

    Raises:
        AnnotateError: a file is compressed, truncated or not a tar file, a member's name is not a valid key, two .cls
            members of one sample differ, or there is no picture.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        path = Path(address).absolute()
        root, names = (path, sorted(filter(is_tar, os.listdir(path)))) if path.is_dir() else (path.parent, [path.name])
        files = {name: index_of(root / name) for name in names}
        members = [(name, member) for name, index in files.items() for member in index.spans]
        self._path = path
        self.left_out = sum(index.left_out for index in files.values())
        if not members or any(index.inner and not index.spans for index in files.values()):
            raise AnnotateError(f"{address} holds {'other files' if members else 'no picture'}: {_instead(files)}")
        alone = len({member for _, member in members}) == len(members)
        self.keys = [member if alone else f"{name}/{member}" for name, member in members]
        self.handles = _spans(list(files.values()))
        self.reader = TarReader(root, tuple((name, index.size) for name, index in files.items()))
        classes = [files[name].classes.get(sample_of(member)[0]) for name, member in members]
        self.target_names: tuple[str, ...] | None = None
        self.targets: list[int] | None = None
        if None not in classes:
            self.targets, _ = as_targets(classes, lambda row: f"the .cls member of {self.keys[row]!r} in {address}")

    def __repr__(self) -> str:
        """The kind, the address and the number of pictures."""
        return f"TarImages({str(self._path)!r}, {len(self.keys):,} pictures)"


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


def _spans(indexes: Sequence[TarIndex]) -> Spans:
    counts = [len(index.spans) for index in indexes]
    spans = np.array([span for index in indexes for span in index.spans.values()], np.uint64).reshape(-1, 3)
    return Spans(
        np.repeat(np.arange(len(indexes), dtype=np.uint32), counts),
        np.ascontiguousarray(spans[:, 0]),
        np.ascontiguousarray(spans[:, 1]),
        spans[:, 2].astype(bool),
    )


def _instead(files: Mapping[str, TarIndex]) -> str:
    """What tar files hold that have no picture."""
    for name, index in files.items():
        if index.inner:
            return (
                f"{name} holds tar files, such as {index.inner!r}. Extract it, and each of them into a folder of its "
                'own, `for f in *.tar; do mkdir "${f%.tar}" && tar -xf "$f" -C "${f%.tar}"; done`, and give the folder '
                "above these"
            )
    if links := sum(index.links for index in files.values()):
        return (
            f"{links:,} members have the name of one, but are symbolic links, hard links to nothing, or special files"
        )
    members = sum(index.left_out for index in files.values())
    return f"none of the {members:,} members of {len(files)} tar files has the name of one"


def _expanded(path: Path, span: Span) -> bytes:
    """The bytes of a sparse member, its holes filled with zeros."""
    if span.size > _LARGEST_SPARSE:
        raise PictureError(Status.REFUSED, f"{span.size:,} bytes are more than the {_LARGEST_SPARSE:,} allowed")
    with path.open("rb") as file:
        file.seek(span.offset)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            member = archive.next()
            data = None if member is None else archive.extractfile(member)
            return b"" if data is None else data.read()
