"""What is a file by its name alone? A picture, a tar file, a Parquet file, a split, or something else."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from PIL import features

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".jpe", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
    + ((".avif",) if "avif" in features.modules and features.check("avif") else ())  # Pillow 11.3 and later
)
SPLITS = frozenset({"train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval"})
_TAR = re.compile(r"[^.].*\.(tar|tgz|tar\.(gz|bz2|xz|zst))", re.IGNORECASE)


def is_picture(name: str) -> bool:
    """Whether a file of this name counts as a picture."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_tar(name: str) -> bool:
    """Whether a file of this name counts as a tar file. Compressed ones do too: to be refused, not ignored."""
    return _TAR.fullmatch(name) is not None


def is_parquet(name: str) -> bool:
    """Whether a file of this name counts as a Parquet file."""
    return name.lower().endswith(".parquet") and not name.startswith(".")
