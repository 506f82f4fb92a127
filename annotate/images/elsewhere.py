"""Where are the pictures, if the folder that was given has none? In a folder below it, or in a cache of `datasets`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from annotate.errors import AnnotateError

_DEEP = 4  # folders: the cache of the Hub has snapshots/COMMIT/data
_SHOWN = 3
# What `load_dataset` calls its files: NAME-SPLIT.arrow, or NAME-SPLIT-00000-of-00002.arrow.
_CACHED = re.compile(r"(?P<split>.+?)(-\d{5}-of-\d{5})?\.arrow")


def refuse_if_below(path: Path, is_collection: Callable[[set[str]], bool]) -> None:
    """Refuse a folder without pictures, if a folder below it is a collection, with the address that would work.

    Args:
        path: the folder.
        is_collection: whether a folder with these names in it is one.

    Raises:
        AnnotateError: there is one, or files that `load_dataset` made.
    """
    found: list[Path] = []
    for folder, subfolders, files in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        names = {*subfolders, *files}
        cached = sorted(name for name in files if _CACHED.fullmatch(name) and not name.startswith("cache-"))
        if cached and "dataset_info.json" in names and "state.json" not in names:  # which `save_to_disk` would write
            _refuse_cache(path, Path(folder), cached[0])
        if Path(folder) != path and is_collection(names):
            found.append(Path(folder))
            subfolders.clear()
        if len(Path(folder).relative_to(path).parts) >= _DEEP:
            subfolders.clear()
    if found:
        shown = " or ".join(map(str, found[:_SHOWN])) + f", or one of {len(found) - _SHOWN} more" * (
            len(found) > _SHOWN
        )
        raise AnnotateError(f"{path} holds no picture, but there are pictures in folders below it: give {shown}")


def _refuse_cache(path: Path, folder: Path, name: str) -> None:
    match = _CACHED.fullmatch(name)
    files = folder / f"{match['split'] if match else name}*.arrow"
    program = (
        "from glob import glob; from datasets import Dataset, concatenate_datasets; concatenate_datasets([Dataset."
        f"from_file(name) for name in sorted(glob({str(files)!r}))]).save_to_disk('saved')"
    )
    raise AnnotateError(
        f"{path} holds the cache of `load_dataset`, whose form may change with `datasets`. Save a split once, and give "
        f'the folder saved: python -c "{program}"'
    )
