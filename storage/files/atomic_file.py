"""How is a file written atomically? Under a temporary name in the same folder, which is then renamed."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"  # ends the name of a file that is not finished
_ATTEMPTS = 3
_LONGEST = 50  # characters of a file's name that its temporary name repeats, so that in UTF-8 it fits 255 bytes


def write_atomically(path: Path, data: bytes | memoryview | Callable[[BinaryIO], object], *, new: bool = False) -> None:
    """Write a file, and the folders above it; a reader finds all of it, or what was there before.

    A symbolic link at its name is replaced, not followed.

    Args:
        path: path of the file.
        data: its bytes, or a function that writes them to an open file.
        new: write only if nothing exists at the path.

    Raises:
        FileExistsError: `new` is set, and something exists at the path.
        OSError: the system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(_ATTEMPTS):
        partial = path.with_name(f"{_prefix(path)}{secrets.token_hex(8)}{PARTIAL}")
        try:
            with partial.open("xb") as file:
                if callable(data):
                    data(file)
                else:
                    file.write(data)
            if new:
                os.link(partial, path)
            else:
                os.replace(partial, path)
            return
        except FileNotFoundError:  # another process has removed leftovers meanwhile
            if attempt + 1 == _ATTEMPTS:
                raise
        finally:
            partial.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the unfinished files that killed writers of this file left beside it."""
    for leftover in path.parent.glob(f"{glob.escape(_prefix(path))}*{PARTIAL}"):
        leftover.unlink(missing_ok=True)


def remove_leftovers_below(folder: Path) -> None:
    """Remove the unfinished files that killed writers of any file left in this folder and in those below it."""
    for leftover in folder.rglob(f"*{PARTIAL}"):
        leftover.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    """The beginning of the temporary names of a file."""
    return f"{path.name[:_LONGEST]}."
