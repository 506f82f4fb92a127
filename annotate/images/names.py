"""What is a file taken for by its name alone? A picture, a tar file, a table, or nothing that holds pictures."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".jpe", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_TAR = re.compile(r"[^.].*\.(tar|tgz|tar\.(gz|bz2|xz|zst))", re.IGNORECASE)


def is_picture(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_tar(name: str) -> bool:
    """Whether a file of this name is taken for a tar file: also a compressed one, to be refused and not overlooked."""
    return _TAR.fullmatch(name) is not None


def is_parquet(name: str) -> bool:
    """Whether a file of this name is taken for a Parquet file."""
    return name.lower().endswith(".parquet") and not name.startswith(".")
