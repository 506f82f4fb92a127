"""How does a folder become a collection? Its picture files are sorted by their relative paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from annotate.errors import AnnotateError, PictureError
from annotate.images.suffixes import SUFFIXES, is_picture
from storage import Status
from storage.keys.key import is_key


def holds_picture(root: Path) -> bool:
    """Whether any file below the folder is a picture by its name; the search ends at the first.

    Raises:
        AnnotateError: a folder cannot be listed.
    """
    return any(map(is_picture, _walk(root)))


@dataclass(frozen=True, slots=True)
class FolderReader:
    """Reads pictures below a root by key, and no file outside it."""

    root: Path

    def read(self, key: str) -> bytes:
        """The bytes of the file.

        Raises:
            PictureError: MISSING; UNREADABLE with the system's reason; REFUSED where the key leaves the root.
        """
        if not is_key(key):
            raise PictureError(Status.REFUSED, "the key does not name a file below the root")
        path = self.root.joinpath(*key.split("/"))
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could block forever
                raise PictureError(Status.UNREADABLE, "not a regular file")
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise PictureError(Status.MISSING, "the file is gone") from None
        except OSError as error:
            raise PictureError(Status.UNREADABLE, error.strerror or type(error).__name__) from error


class FolderImages:
    """All picture files below a folder, at any depth; links to folders are followed.

    If every picture is in a folder of its class (root/class/…/picture), targets are the numbers of the classes in the
    sorted order of their names, as in torchvision; otherwise there are none.

    Raises:
        AnnotateError: the folder does not exist, cannot be listed, or has no picture.
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
            classes = [key.split("/", 1)[0] for key in self.keys]
            self.target_names = tuple(sorted(set(classes)))
            number = {name: index for index, name in enumerate(self.target_names)}
            self.targets = [number[name] for name in classes]

    def __repr__(self) -> str:
        """The kind, the address and the number of pictures."""
        return f"FolderImages({str(self.reader.root)!r}, {len(self.keys):,} pictures)"


def _refuse(error: OSError) -> None:
    """Raise, because os.walk would silently skip a folder that cannot be listed."""
    raise AnnotateError(
        f"cannot list the folder {error.filename}: {error.strerror}; nothing has been labelled"
    ) from error


def _walk(root: Path) -> Iterator[str]:
    """The relative POSIX path of every file that is not hidden; a folder with several links is entered once."""
    entered = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refuse):
        identity = os.stat(folder)
        if (identity.st_dev, identity.st_ino) in entered:
            subfolders.clear()
            continue
        entered.add((identity.st_dev, identity.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        yield from ((relative / name).as_posix() for name in files if not name.startswith("."))
