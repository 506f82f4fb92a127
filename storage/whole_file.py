"""How does a file come to be whole or not at all? It is written beside its place, and then moved there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PARTIAL = ".partial"  # ends the name of what is not there yet


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
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")
    try:
        partial.write_bytes(data)
        if new:
            os.link(partial, path)
        else:
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove what killed writers of this file left beside it."""
    for leftover in path.parent.glob(f"{path.name}.*{PARTIAL}"):
        leftover.unlink(missing_ok=True)
