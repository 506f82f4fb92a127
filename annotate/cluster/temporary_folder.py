"""Where does our own Ray keep sockets and logs? In a private folder, which is removed at the end."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR

from annotate.errors import AnnotateError

_PREFIX = "annotate-ray-"
_LOCK, _INNER = "lock", "r"  # Ray's own folder is the inner one: it lets everybody write into it
_BEGINNING = 3600.0  # seconds that a folder may be without the inner one; it takes a few milliseconds
_ROOM = 50_000_000  # bytes that Ray needs for logs; on a full disk it would say after 44 s that its node timed out
_LONGEST = 40  # bytes of the folder's path: the system allows 107 for a socket's, and Ray adds up to 67


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for Ray during the `with` block. Folders that killed runs left behind are removed too.

    It is made in the first of RAY_TMPDIR, TMPDIR and /tmp where that is possible, with a path that is short enough and
    on a disk that has room for Ray's logs.

    Raises:
        AnnotateError: it cannot be made anywhere.
    """
    tried = []
    for parent in _parents():
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        except OSError as error:
            tried.append(f"{parent}: {error.strerror or error}")
            continue
        if (why := _unusable(folder)) is None:
            break
        folder.rmdir()
        tried.append(f"{parent}: {why}")
    else:
        raise AnnotateError(
            f"Ray cannot start on this machine: it needs a folder for its sockets and logs ({'; '.join(tried)}). Set "
            f"TMPDIR to a folder with a short path where you may write and {_ROOM / 1e6:.0f} MB are free, or label "
            "without Ray, with --local"
        )
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _remove_leftovers(folder.parent)
            (folder / _INNER).mkdir()
            yield folder / _INNER
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parents() -> list[Path]:
    named = [os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR"), "/tmp"]
    return [*dict.fromkeys(Path(name).absolute() for name in named if name)]


def _unusable(folder: Path) -> str | None:
    """Why Ray would not start in this folder, or None."""
    if len(os.fsencode(folder)) > _LONGEST:
        return "its path is too long for a socket"
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and free < _ROOM:  # some file systems know no size
        return f"its disk has only {free / 1e6:.0f} MB left"
    return None


def _remove_leftovers(parent: Path) -> None:
    """Remove this user's folders whose runs have ended: nobody holds their locks."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if not S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue  # another user's
            if not (folder / _INNER).is_dir() and time.time() - status.st_mtime < _BEGINNING:
                continue  # not locked yet
            # Without a lock it was being removed: the lock is made before the inner folder.
            with (folder / _LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
