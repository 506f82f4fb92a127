"""Where is what an address lacks? Pictures: in a folder below it, or a cache. ImageNet's val classes: in a list."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from annotate.errors import AnnotateError
from annotate.images.source import ImageSource
from annotate.images.sources.folder import FolderReader

_DEEP = 4  # folders: the cache of the Hub has snapshots/COMMIT/data
_SHOWN = 3
# What `load_dataset` calls its files: NAME-SPLIT.arrow, or NAME-SPLIT-00000-of-00002.arrow.
_CACHED = re.compile(r"(?P<split>.+?)(-\d{5}-of-\d{5})?\.arrow")
_VAL = re.compile(r"ILSVRC2012_val_\d{8}\.JPEG")
_ANSWERS = "LOC_val_solution.csv"  # the classes, as Kaggle has them
_PROGRAM = (
    'BEGIN {print "path,label"} NR > 1 {split($2, part, " "); print $1 ".JPEG," part[1]}'  # ImageId,PredictionString
)


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


def about_classes(source: ImageSource) -> str:
    """How the classes of these pictures are given; "" unless they are ImageNet's validation pictures without classes.

    Keys of a folder are sorted, so that the first and the last tell of all.
    """
    ends = (source.keys[0], source.keys[-1])
    if source.targets is not None or not all(map(_VAL.fullmatch, ends)):
        return ""
    folder, extract = source.reader.root, ""
    if not isinstance(source.reader, FolderReader):
        folder = folder / "val"
        extract = f"extract them into {folder}, "
    listed = folder / "val.csv"
    sentence = (
        "these are ImageNet's validation pictures without folders of classes. Labels need no classes; for those of "
        f"`calibrate` and `audit`, {extract}give {listed} instead"
    )
    if listed.is_file():
        return sentence
    made = f"awk -F, {shlex.quote(_PROGRAM)} {_ANSWERS} > {shlex.quote(str(listed))}"
    return f"{sentence}, made once from ImageNet's {_ANSWERS}: {made}"
