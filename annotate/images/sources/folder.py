"""How does a folder become a collection? Its picture files are sorted by their relative paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

from annotate.errors import AnnotateError, PictureError
from annotate.images.source import refuse_large
from annotate.images.suffixes import SPLITS, SUFFIXES, is_picture
from storage import Status
from storage.keys.key import is_key, other_form


def holds_pictures(root: Path, *, more_than: int = 0) -> bool:
    """Whether more files than this below the folder are pictures by their names; the search ends at the first of them.

    Raises:
        AnnotateError: a folder cannot be listed.
    """
    return any(True for _ in islice(filter(is_picture, _walk(root)), more_than, None))


@dataclass(frozen=True, slots=True)
class FolderReader:
    """Reads pictures below a root by key, and no file outside it."""

    root: Path

    def read(self, key: str) -> bytes:
        """The bytes of the file.

        Raises:
            PictureError: MISSING; UNREADABLE with the system's reason; REFUSED where the key leaves the root,
                or the file is larger than any picture.
        """
        if not is_key(key):
            raise PictureError(Status.REFUSED, "the key does not name a file below the root")
        path = self.root.joinpath(*key.split("/"))
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # reading a pipe could block forever
                raise PictureError(Status.UNREADABLE, "not a regular file")
            refuse_large(found.st_size)
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            other = other_form(key, lambda form: self.root.joinpath(*form.split("/")).exists())
            there = "" if other is None else f", but {other!a} is there: one name in another form of Unicode"
            raise PictureError(Status.MISSING, f"the file is gone{there}") from None
        except OSError as error:
            raise PictureError(Status.UNREADABLE, error.strerror or type(error).__name__) from error


class FolderImages:
    """All picture files below a folder, at any depth; links to folders are followed.

    If every picture is in a folder of its class (root/class/…/picture), targets are the numbers of the classes in the
    sorted order of their names, as in torchvision; otherwise there are none.

    Raises:
        AnnotateError: the folder does not exist, cannot be listed, has no picture, or has splits in place of classes.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.reader = FolderReader(Path(root).absolute())
        if not self.reader.root.is_dir():
            raise AnnotateError(f"there is no folder of pictures at {root}")
        found = sorted(_walk(self.reader.root))
        self.keys = [key for key in found if is_picture(key)]
        self.handles = self.keys
        self.left_out = len(found) - len(self.keys)
        if not self.keys:
            raise AnnotateError(
                f"the folder {root} holds no picture: {self.left_out} files were found, none of them named "
                f"{' '.join(sorted(SUFFIXES))}"
            )
        self.target_names: tuple[str, ...] | None = None
        self.targets: list[int] | None = None
        if all("/" in key for key in self.keys):
            _refuse_splits(self.reader.root, self.keys)
            classes = [key.split("/", 1)[0] for key in self.keys]
            self.target_names = tuple(sorted(set(classes)))
            number = {name: index for index, name in enumerate(self.target_names)}
            self.targets = [number[name] for name in classes]

    def __repr__(self) -> str:
        """The kind, the address and the number of pictures."""
        return f"FolderImages({str(self.reader.root)!r}, {len(self.keys):,} pictures)"


def _refuse_splits(root: Path, keys: Sequence[str]) -> None:
    """Refuse a folder of splits, whose names would be taken for those of classes, such as ImageNet's root.

    Args:
        root: the folder.
        keys: sorted; each has a folder.
    """
    ends = (key.split("/")[:-1] for key in (keys[0], keys[-1]))
    shared = [one for one, other in takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False))]
    depth = len(shared)
    beside = any(key.count("/") == depth for key in keys)  # pictures beside the folders in which paths differ
    folders = set() if beside else {key.split("/", depth + 1)[depth] for key in keys}
    if folders and all(folder.lower() in SPLITS for folder in folders):
        splits = [root.joinpath(*shared, folder) for folder in sorted(folders)]
    else:
        above = shared[:-1] if beside else shared
        splits = [root.joinpath(*above[: n + 1]) for n, name in enumerate(above) if name.lower() in SPLITS]
    if splits:
        raise AnnotateError(
            f"{root} holds splits and not classes: the class of each picture would be {keys[0].split('/')[0]!r} or "
            f"the like. Give the folder of one split: {' or '.join(map(str, splits))}"
        )


def _refuse(error: OSError) -> None:
    """Raise, because os.walk would silently skip a folder that cannot be listed."""
    raise AnnotateError(
        f"cannot list the folder {error.filename}: {error.strerror}; nothing has been labelled"
    ) from error


def _walk(root: Path) -> Iterator[str]:
    """The relative POSIX path of every file that is not hidden; links are followed, except to a folder above them."""
    trail: list[tuple[int, int]] = []  # the folders from the root to the one that is listed
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refuse):
        relative = Path(folder).relative_to(root)
        del trail[len(relative.parts) :]  # os.walk lists a folder's subfolders before the next folder beside it
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in trail:
            subfolders.clear()
            continue
        trail.append((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from ((relative / name).as_posix() for name in files if not name.startswith("."))
