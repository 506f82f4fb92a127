"""Does a name below a folder lead to a file inside that folder?

A store from an unknown source may contain links, pipes and devices. The target of a link may belong to somebody else:
it is never written, removed or listed, and it is read only if it lies in the same folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from storage.files.atomic_file import is_leftover

# Of ext4, macOS, Windows, and Synology's DiskStation, in small letters.
_OF_SYSTEMS = (
    *("lost+found", ".ds_store", "__macosx", ".fseventsd", ".spotlight-v100", ".trashes"),
    *("thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir"),
)
_NOT_FOLLOWED = "it is behind a link, which is not followed"


def to_read(folder: Path, name: str) -> Path:
    """The path of a file to read.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: there is no such file.
        PermissionError: a link leads out of the folder, or it is a pipe or a device.
        OSError: the system refuses.
    """
    path = folder / name
    if _has_link(folder, name):
        _refuse_outside(folder, path)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):  # opening a pipe could block forever
        raise PermissionError(errno.EPERM, "it is not a regular file", str(path))
    return path


def to_change(folder: Path, name: str) -> Path:
    """The path of a file to write, replace or remove. A link at its own name is replaced or removed, not followed.

    Raises:
        PermissionError: a folder above it is a link.
        OSError: the system refuses.
    """
    above = name.rpartition("/")[0]
    try:
        linked = bool(above) and _has_link(folder, above)
    except (
        FileNotFoundError,
        NotADirectoryError,
    ):  # it does not exist yet, and is made later
        linked = False
    if linked:
        raise PermissionError(errno.EPERM, _NOT_FOLLOWED, str(folder / name))
    return folder / name


def children(folder: Path, name: str) -> list[str]:
    """The names of the files directly below a name; none if it does not exist.

    Raises:
        PermissionError: it is a link, or below one.
        OSError: the system refuses.
    """
    try:
        if _has_link(folder, name):
            raise PermissionError(errno.EPERM, _NOT_FOLLOWED, str(folder / name))
        with os.scandir(folder / name) as found:
            return [entry.name for entry in found if not entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def size_of(folder: Path, name: str) -> int | None:
    """The bytes of a file, or None if there is none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return to_read(folder, name).stat().st_size
    except OSError as error:
        if is_missing(error):
            return None
        raise


def written_below(folder: Path, name: str, files: Iterable[str]) -> dict[str, float]:
    """When these files directly below a name were written, in seconds since 1970; missing ones are left out.

    Raises:
        OSError: the system refuses.
    """
    found = {}
    for file in files:
        with suppress(FileNotFoundError):
            found[file] = (folder / name / file).stat(follow_symlinks=False).st_mtime
    return found


def names(folder: Path) -> list[str]:
    """The names of all files below a folder, sorted, without leftovers of killed writers. Links to folders are skipped.

    So is what no store has: folders whose name begins with a dot, and what systems leave anywhere, which the user may
    not even be allowed to list.

    Raises:
        OSError: the system refuses.
    """
    found, start = [], len(f"{folder}/")
    for above, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [each for each in folders if not each.startswith(".") and not is_of_the_system(each)]
        found += [f"{above}/{file}"[start:] for file in files if not is_leftover(file) and not is_of_the_system(file)]
    return sorted(found)


def is_of_the_system(name: str) -> bool:
    """Whether systems leave files or folders of this name anywhere, by themselves."""
    return name.lower() in _OF_SYSTEMS


def move(folder: Path, name: str, to: str) -> None:
    """Move a file to another name below the same folder; do nothing if it does not exist.

    Raises:
        PermissionError: a folder above either name is a link.
        OSError: the system refuses.
    """
    source, target = to_change(folder, name), to_change(folder, to)
    if os.path.lexists(source):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def is_missing(error: BaseException) -> bool:
    """Whether the error proves that the file does not exist. Any other error leaves that open."""
    return isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)


def _has_link(folder: Path, name: str) -> bool:
    """Whether one of the parts of a name is a symbolic link."""
    at = str(folder)
    for part in name.split("/"):
        at = f"{at}/{part}"
        if stat.S_ISLNK(os.lstat(at).st_mode):
            return True
    return False


def _refuse_outside(folder: Path, path: Path) -> None:
    root, leads_to = os.path.realpath(folder), os.path.realpath(path)
    if not leads_to.startswith(f"{root}/"):
        words = "a link leads out of the store and is not followed; `cp -rL` copies the files in place of the links"
        raise PermissionError(errno.EPERM, words, str(path))


def _raise(error: OSError) -> None:
    raise error
