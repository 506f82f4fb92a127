"""How does a file come to be whole or not at all? It is written beside its place, and then moved there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PARTIAL = ".partial"  # ends the name of what is not there yet
_ATTEMPTS = 3


def write_whole(path: Path, data: bytes, *, new: bool = False) -> None:
    """Write a file and the folders above it; whoever opens it finds all of it, or what was there before.

    Args:
        path: its place.
        data: its bytes.
        new: only where nothing is there yet.

    Raises:
        FileExistsError: it was to be new, and something is there.
        OSError: the place refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(_ATTEMPTS):
        partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")
        try:
            partial.write_bytes(data)
            if new:
                os.link(partial, path)
            else:
                os.replace(partial, path)
            return
        except FileNotFoundError:  # somebody has tidied up meanwhile
            if attempt + 1 == _ATTEMPTS:
                raise
        finally:
            partial.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove what killed writers of this file left beside it."""
    for leftover in path.parent.glob(f"{path.name}.*{PARTIAL}"):
        leftover.unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Remove what killed writers of all files below a folder left there."""
    for leftover in folder.rglob(f"*{PARTIAL}"):
        leftover.unlink(missing_ok=True)
