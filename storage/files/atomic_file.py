"""How is a file written atomically? Under a temporary name in the same folder, which is then renamed."""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias, final

Data: TypeAlias = bytes | memoryview | Callable[[BinaryIO], object]
PARTIAL = ".partial"  # ends the name of a file that is not finished
_LEFTOVER = re.compile(r".*\.([0-9a-f]{16}|claim)\.partial", re.DOTALL)
_ATTEMPTS = 3
_LONGEST = 50  # characters of a file's name that its temporary name repeats, so that in UTF-8 it fits 255 bytes
_NO_LINKS = (errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)  # what file systems without hard links answer
# What others answer, and what may have another cause: then what is done without links fails too.
_PERHAPS_NO_LINKS = (errno.EMLINK, errno.EINVAL, errno.ENOTTY, errno.EXDEV, errno.EACCES)
_CLAIMED = 10.0  # seconds that a claim of another process is waited for; it needs a few milliseconds


def write_atomically(
    path: Path,
    data: Data,
    *,
    new: bool = False,
    below: Path | None = None,
) -> None:
    """Write a file, and the folders above it; a reader finds all of it, or what was there before.

    A symbolic link at its name is replaced, not followed.

    Args:
        path: path of the file.
        data: its bytes, or a function that writes them to an open file.
        new: write only if nothing exists at the path.
        below: a folder above the path that must exist already: it may be on a mount, which may be gone.

    Raises:
        FileExistsError: `new` is set, and something exists at the path.
        FileNotFoundError: `below` does not exist.
        OSError: the system refuses.
    """
    with Prepared(path, data, below=below) as prepared:
        prepared.put_in_place(new=new)


@final
class Prepared:
    """A file that is whole under a temporary name, so that it can get its own without any more space.

    At the end of a `with` it is removed, unless it was put in place.
    """

    def __init__(self, path: Path, data: Data, *, below: Path | None = None) -> None:
        """Write the file, and the folders above it, as `write_atomically` does.

        Raises:
            FileNotFoundError: `below` does not exist.
            OSError: the system refuses; what could be written is removed.
        """
        self._path, self._data = path, data
        _make_folders(path.parent, below)
        self._write()

    def put_in_place(self, *, new: bool = False) -> None:
        """Give the file its name, which may be that of another that it replaces.

        Args:
            new: only if nothing exists at the path.

        Raises:
            FileExistsError: `new` is set, and something exists at the path.
            OSError: the system refuses.
        """
        for attempt in range(_ATTEMPTS):
            try:
                if new:
                    _rename_new(self._partial, self._path)
                else:
                    os.replace(self._partial, self._path)
                return
            except FileNotFoundError:  # another process has removed leftovers meanwhile
                if attempt + 1 == _ATTEMPTS:
                    raise
                self._write()

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *error: object) -> None:
        self._remove()

    def _write(self) -> None:
        self._partial = self._path.with_name(f"{_prefix(self._path)}{secrets.token_hex(8)}{PARTIAL}")
        try:
            with self._partial.open("xb") as file:
                if callable(self._data):
                    self._data(file)
                else:
                    file.write(self._data)
        except BaseException:
            self._remove()
            raise

    def _remove(self) -> None:
        with suppress(OSError):  # it has got its name; or it stays as a leftover, and the error before says why
            self._partial.unlink()


def is_leftover(name: str) -> bool:
    """Whether a file of this name is an unfinished one of ours. A user's film.partial is not."""
    return _LEFTOVER.fullmatch(name) is not None


def remove_leftovers(path: Path) -> None:
    """Remove the unfinished files that killed writers of this file left beside it."""
    for leftover in path.parent.glob(f"{glob.escape(_prefix(path))}*{PARTIAL}"):
        leftover.unlink(missing_ok=True)


def remove_leftovers_below(folder: Path) -> None:
    """Remove the unfinished files that killed writers of any file left in this folder and in those below it."""
    for leftover in folder.rglob(f"*{PARTIAL}"):
        # No writer of ours makes folders of such names.
        if is_leftover(leftover.name) and (leftover.is_symlink() or not leftover.is_dir()):
            leftover.unlink(missing_ok=True)


def _make_folders(folder: Path, below: Path | None) -> None:
    """Make a folder and those above it, up to `below`."""
    if below is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    if folder == below:
        os.stat(below)
        return
    try:
        folder.mkdir()
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make_folders(folder.parent, below)
        folder.mkdir(exist_ok=True)


def _rename_new(partial: Path, path: Path) -> None:
    """Give a file its name, unless something has that name: of several processes one succeeds.

    Raises:
        FileExistsError: something has that name.
        TimeoutError: another process was about to use it, and has not.
        OSError: the system refuses.
    """
    try:
        os.link(partial, path)
    except OSError as error:
        if error.errno not in (*_NO_LINKS, *_PERHAPS_NO_LINKS):
            raise
        try:
            _rename_claimed(partial, path)
        except (FileExistsError, FileNotFoundError, TimeoutError):  # it works
            raise
        except OSError:
            if error.errno in _NO_LINKS:
                raise
            raise error from None


def _rename_claimed(partial: Path, path: Path) -> None:
    """The same where there are no hard links: only the process that could create the claim looks and renames."""
    claim = path.with_name(f"{_prefix(path)}claim{PARTIAL}")  # a leftover, if its process is killed
    deadline = time.monotonic() + _CLAIMED
    while True:
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            if os.path.lexists(path):
                raise
        if time.monotonic() > deadline:
            raise TimeoutError(
                errno.ETIMEDOUT,
                f"another process has claimed this name for {_CLAIMED:.0f} seconds; if it was killed, remove the claim",
                str(claim),
            )
        time.sleep(0.02)
    try:
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        os.rename(partial, path)
    finally:
        claim.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    """The beginning of the temporary names of a file."""
    return f"{path.name[:_LONGEST]}."
