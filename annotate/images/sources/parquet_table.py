"""How are Parquet files read row by row? One row group at a time, which is kept in memory for the next rows."""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from annotate.errors import AnnotateError
from annotate.images.per_process import Opened
from annotate.images.sources.huggingface import HubImages
from annotate.images.suffixes import SPLITS, is_parquet

_LARGEST_GROUP = 1 << 31  # bytes; Arrow's own limit for one array of bytes


def parquet_images(address: str | os.PathLike[str]) -> HubImages:
    """The pictures of a Parquet file, or of all Parquet files of a folder.

    Raises:
        AnnotateError: as `HubImages`.
    """
    return HubImages(address, ParquetTable.at)


@dataclass(frozen=True, repr=False)
class ParquetTable:
    """The rows of Parquet files, one file after the other. Only the files' names and lengths are pickled.

    root:  the folder of the files
    files: the name of each file, and the number of the row after its last row
    """

    root: Path
    files: tuple[tuple[str, int], ...]
    _groups: Opened[list[int]] = field(default_factory=Opened, init=False, repr=False, compare=False)
    _values: Opened[pa.ChunkedArray] = field(default_factory=Opened, init=False, repr=False, compare=False)

    @classmethod
    def at(cls, path: Path) -> Self:
        """The table in one file, or in all files of a folder in the order of their names.

        Raises:
            AnnotateError: the files belong to several splits, have different columns, or too large row groups.
        """
        is_folder = path.is_dir()
        root = path if is_folder else path.parent
        names = sorted(filter(is_parquet, os.listdir(path))) if is_folder else [path.name]
        _refuse_splits(root, names)
        rows, files, first = 0, [], pq.read_schema(root / names[0])
        for name in names:
            with pq.ParquetFile(root / name) as file:
                if not file.schema_arrow.equals(first) or _features(file.schema_arrow) != _features(first):
                    raise AnnotateError(
                        f"cannot use {root} as one collection: {name} and {names[0]} have different columns or "
                        "classes. Put each dataset into its own folder"
                    )
                _refuse_large_groups(root / name, file.metadata)
                rows += file.metadata.num_rows
                files.append((name, rows))
        return cls(root, tuple(files))

    def __repr__(self) -> str:
        """The folder, and the numbers of files and rows."""
        return f"ParquetTable({str(self.root)!r}, {len(self.files):,} files, {len(self):,} rows)"

    def __len__(self) -> int:
        return self.files[-1][1]

    @property
    def schema(self) -> pa.Schema:
        """The columns, which all files share."""
        return pq.read_schema(self.root / self.files[0][0])

    def values(self, column: str, part: str | None = None) -> list[Any]:
        """All values of a column, or of one part of a struct, without reading its other parts."""
        found: list[Any] = []
        for name, _ in self.files:
            path = column if part is None else f"{column}.{part}"
            with pq.ParquetFile(self.root / name) as file:
                values = file.read([path], use_threads=False).column(column).to_pylist()
            found += values if part is None else [value and value[part] for value in values]
        return found

    def cell(self, row: int, column: str) -> Any:
        """The value in one row as a Python object."""
        number, row = _find(row, [end for _, end in self.files])
        path = self.root / self.files[number][0]
        group, row = _find(row, self._groups.get(number, lambda: _group_ends(path)))
        return self._values.get((number, group, column), lambda: _read_group(path, group, column))[row].as_py()


def _find(row: int, ends: Sequence[int]) -> tuple[int, int]:
    """The number of the part that holds a row, and the row's number in it; a part ends before its row in `ends`."""
    part = bisect_right(ends, row)
    if part == len(ends):
        raise IndexError("the file has changed and no longer has this row")
    return part, row - (ends[part - 1] if part else 0)


def _group_ends(path: Path) -> list[int]:
    metadata = pq.read_metadata(path)
    return list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))


def _read_group(path: Path, group: int, column: str) -> pa.ChunkedArray:
    # Opened again for each group, which takes far longer to read: an open file must not be shared by threads.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        return file.read_row_group(group, [column], use_threads=False).column(0)


def _features(schema: pa.Schema) -> Any:
    """The features of `datasets`, which include the names of classes."""
    return json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features")


def _refuse_splits(root: Path, names: Sequence[str]) -> None:
    """Check that all files belong to one split: otherwise row numbers would differ from each split's own."""
    splits = sorted({split for split in map(_split, names) if split})
    if len(splits) > 1:
        raise AnnotateError(
            f"the Parquet files in {root} belong to several splits: {', '.join(splits)}. Link those of one split "
            f"into a folder of their own, `mkdir {splits[0]} && ln -s {root}/{splits[0]}*.parquet {splits[0]}/`, and "
            "give that folder"
        )


def _split(name: str) -> str | None:
    """The split that a file belongs to by its name, as `datasets` names files; None if the name does not say."""
    numbered = re.match(r"(.+?)-\d+-of-\d+", name)
    if numbered:
        return numbered[1]
    word = re.split(r"[-_.]", name)[0]
    return word if word.lower() in SPLITS else None


def _refuse_large_groups(path: Path, metadata: pq.FileMetaData) -> None:
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        largest = max((group.column(n).total_uncompressed_size for n in range(group.num_columns)), default=0)
        if largest >= _LARGEST_GROUP:
            raise AnnotateError(
                f"cannot use {path}: its row group {number} has {largest:,} bytes, and row groups are read whole. "
                "Write the file with smaller ones: pyarrow.parquet.write_table(…, row_group_size=100)"
            )
