"""How does a Hugging Face dataset on disk become a collection? From its columns of pictures and labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import datasets
import pyarrow as pa

from annotate.errors import AnnotateError, PictureError
from annotate.images.keys import is_sound, row_keys
from annotate.images.targets import as_targets
from storage import Status

_BYTES, _PATH = "bytes", "path"  # the parts of a picture as `datasets` stores it
# What `datasets` and Arrow raise for files that are missing, damaged, or contradict their metadata.
_DATASET_ERRORS = (OSError, LookupError, ValueError, TypeError, AttributeError, pa.ArrowException)


class Table(Protocol):
    """Rows of named columns, small and picklable: what a file format must offer to become a source."""

    @property
    def root(self) -> Path:
        """The folder of its files."""
        ...

    def __len__(self) -> int: ...

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        ...

    def values(self, column: str, part: str | None = None) -> list[Any]:
        """All values of a column, or of one part of a struct."""
        ...

    def cell(self, row: int, column: str) -> Any:
        """The value in one row."""
        ...


@dataclass(frozen=True, slots=True)
class HubReader:
    """Reads the pictures in a column of a table."""

    table: Table
    column: str

    @property
    def root(self) -> Path:
        """The folder of the dataset's files."""
        return self.table.root

    def read(self, handle: int, /) -> bytes:
        """The bytes of the picture in this row.

        Raises:
            PictureError: MISSING where the row or its file has no picture; UNREADABLE with the reason.
        """
        try:
            cell = self.table.cell(handle, self.column)
            data = cell.get(_BYTES) if isinstance(cell, dict) else cell
            picture = None if data is None else bytes(data)  # bytes, or a list of numbers; raises if they are not bytes
        except FileNotFoundError as error:
            raise PictureError(Status.MISSING, "the file of this row is gone") from error
        except _DATASET_ERRORS as error:
            raise PictureError(Status.UNREADABLE, str(error) or type(error).__name__) from error
        if picture is None:
            raise PictureError(Status.MISSING, "the row holds no picture, at most a path")
        return picture


class HubImages:
    """The pictures of a dataset in Parquet files, or that `datasets` has saved to disk, in the order of its rows.

    Pictures are in the column with the feature Image, or else of bytes; among several, in the one named "image". They
    are not decoded. The keys are their paths in that column, if every row has a valid one and all differ; otherwise
    row numbers such as "000000012".

    Targets are in the column "label", or in the only ClassLabel: numbers, with names where there are names, or names.

    Args:
        address: a file or a folder.
        at: opens the table there: `ParquetTable.at` or `SavedTable.at`.

    Raises:
        AnnotateError: the files cannot be read, belong to several splits, have no column of pictures, or have a
            column "label" whose values are not classes.
    """

    def __init__(self, address: str | os.PathLike[str], at: Callable[[Path], Table]) -> None:
        try:
            table = at(Path(address).absolute())
            count = len(table)
            if not count:
                raise AnnotateError(f"the dataset {address} has no row")
            features = datasets.Features.from_arrow_schema(table.schema)
            column = _picture_column(features, table.schema, address)
            keys = table.values(column, _PATH) if _has_part(table.schema.field(column), _PATH) else []
            label = _label_column(features, address)
            labels = [] if label is None else table.values(label)
        except _DATASET_ERRORS as error:
            raise AnnotateError(f"cannot read the dataset {address}: {error}") from error
        self._path = Path(address).absolute()
        self.reader = HubReader(table, column)
        self.keys = keys if len(set(keys)) == count and all(map(_is_key, keys)) else row_keys(count)
        self.handles = range(count)
        names = getattr(features[label], "names", None) if label else None
        self.targets, self.target_names = as_targets(
            labels, lambda row: f"row {row} of {label!r} in {address}", tuple(names) if names else None
        )
        self.left_out = 0

    def __repr__(self) -> str:
        """The kind, the address and the number of pictures."""
        return f"HubImages({str(self._path)!r}, {len(self.keys):,} pictures)"


def _is_key(key: object) -> bool:
    return isinstance(key, str) and is_sound(key)


def _picture_column(features: datasets.Features, schema: pa.Schema, address: object) -> str:
    columns = [name for name, feature in features.items() if isinstance(feature, datasets.Image)] or [
        field.name for field in schema if _is_bytes(field.type) or _has_part(field, _BYTES)
    ]
    if "image" in columns or len(columns) == 1:
        return "image" if "image" in columns else columns[0]
    raise AnnotateError(
        f"the dataset {address} has {len(columns) or 'no'} columns of pictures among {', '.join(features)}; "
        "expected: one column with the feature datasets.Image or bytes, or one of them with the name image"
    )


def _label_column(features: datasets.Features, address: object) -> str | None:
    if "label" in features:
        kind = features["label"]
        if isinstance(kind, datasets.Value) and not _is_label(kind) and kind.dtype != "null":
            raise AnnotateError(
                f"the column 'label' of the dataset {address} holds {kind.dtype}; labels are whole numbers or texts. "
                "Cast the column to int64, or rename it if it does not hold classes"
            )
        return "label" if _is_label(kind) else None
    columns = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    return columns[0] if len(columns) == 1 else None


def _is_label(feature: Any) -> bool:
    whole = ("int", "uint", "string", "large_string")
    return isinstance(feature, datasets.ClassLabel) or (
        isinstance(feature, datasets.Value) and feature.dtype.rstrip("0123456789") in whole
    )


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _has_part(column: pa.Field, part: str) -> bool:
    kinds: Sequence[pa.Field] = column.type.fields if pa.types.is_struct(column.type) else ()
    return part in [kind.name for kind in kinds]
