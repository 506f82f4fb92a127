"""Where does a test find a file system that lacks something, or fails to read? In a FUSE mount before a folder, in a
process of its own.

Needs the package mfusepy, libfuse 3 (Debian: fuse3), /dev/fuse, and the right to mount.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

Lack = Literal["links", "shared mappings"]
Bytes = tuple[str, int, int]  # a name below the mount, and from which to which of its bytes


def why_not() -> str | None:
    """Why there can be no FUSE mount here, or None where there can."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "no FUSE mount can be made: /dev/fuse is not there or not ours"
    if shutil.which("fusermount3") is None:
        return "no FUSE mount can be made: there is no fusermount3 (Debian: fuse3)"
    try:
        import mfusepy  # noqa: F401 whether it and its library are there
    except (ImportError, OSError) as error:
        return f"no FUSE mount can be made: {error}"
    return None


@contextmanager
def mount(folder: Path, *, lacks: Lack | None = None, broken: Bytes | None = None) -> Iterator[Path]:
    """Show a folder's `behind` at its `mount`, without what the file system lacks; that path.

    Reading the broken bytes of a file is EIO. `behind` is made if it is not there.
    """
    behind, at = folder / "behind", folder / "mount"
    behind.mkdir(exist_ok=True)
    at.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fuse", str(behind), str(at), lacks or "", json.dumps(broken)]
    )
    try:
        deadline = time.monotonic() + 30
        while not os.path.ismount(at):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the FUSE mount at {at} was not made")
            time.sleep(0.02)
        yield at
    finally:
        unmount(at)
        process.terminate()
        process.wait()


def unmount(at: Path) -> None:
    """Take a mount away, also while files below it are open."""
    subprocess.run(["fusermount3", "-u", "-z", str(at)], stderr=subprocess.DEVNULL, check=False)


def _serve(behind: str, at: str, lacks: str, broken: str) -> None:
    import mfusepy

    bad, first, end = json.loads(broken) or ("", 0, 0)
    fields = ("st_gid", "st_mode", "st_nlink", "st_size", "st_uid")
    times = ("st_atime", "st_ctime", "st_mtime")

    class PassThrough(mfusepy.Operations):
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            found = os.lstat(behind + path)
            whole = {name: getattr(found, name) for name in fields}
            return whole | {name: getattr(found, f"{name}_ns") for name in times}

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *os.listdir(behind + path)]

        def mkdir(self, path: str, mode: int) -> int:
            os.mkdir(behind + path, mode)
            return 0

        def rmdir(self, path: str) -> int:
            os.rmdir(behind + path)
            return 0

        def unlink(self, path: str) -> int:
            os.unlink(behind + path)
            return 0

        def rename(self, old: str, new: str) -> int:
            os.rename(behind + old, behind + new)
            return 0

        def link(self, target: str, source: str) -> int:
            if lacks == "links":
                raise mfusepy.FuseOSError(errno.ENOSYS)
            os.link(behind + source, behind + target)
            return 0

        def create(self, path: str, mode: int, flags: int) -> int:
            return os.open(behind + path, flags | os.O_CREAT, mode)

        def open(self, path: str, flags: int) -> int:
            return os.open(behind + path, flags)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            if path == f"/{bad}" and offset < end and first < offset + size:
                raise mfusepy.FuseOSError(errno.EIO)
            return os.pread(fh, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            return os.pwrite(fh, data, offset)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            os.truncate(behind + path, length)
            return 0

        def release(self, path: str, fh: int) -> int:
            os.close(fh)
            return 0

    with suppress(KeyboardInterrupt):
        mfusepy.FUSE(PassThrough(), at, foreground=True, nothreads=True, direct_io=lacks == "shared mappings")


if __name__ == "__main__":
    _serve(*sys.argv[1:])
