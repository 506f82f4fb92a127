"""How does a CSV or JSONL file become a collection? Each line has the path of a picture, and may have its label."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from annotate.errors import AnnotateError
from annotate.images.keys import is_sound
from annotate.images.sources.folder import FolderReader
from annotate.images.targets import as_targets
from storage.json_fields import shown
from storage.keys.key import MOST_KEY_BYTES, shown_key

_LONGEST = 1 << 24  # characters of a line


class _Entry(NamedTuple):
    """The contents of one line."""

    line: int
    path: Any
    label: Any


class ListedImages:
    """The pictures that a list names, in the list's order.

    A CSV file has a header with `path` and optionally `label`; white space around the names of columns and around
    labels is ignored. Each line of a JSONL file is an object with "path" and optionally "label". Other columns are
    ignored. Paths are relative to the list's folder, with / between their parts. They are the keys and may have any
    suffix; a path without a file becomes a row without a label.

    Labels are whole numbers for all pictures, or names for all, numbered in sorted order; an empty label or null means
    no label. Texts that are all written as whole numbers are numbers; see `as_targets`.

    Raises:
        AnnotateError: the list cannot be read, is empty, or a line is not as above; the error names the line.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        path = Path(address).absolute()
        self._path = path
        self.reader = FolderReader(path.parent)
        entries = _read(path)
        if not entries:
            raise AnnotateError(f"the list {address} names no picture")
        lines: dict[str, int] = {}
        for entry in entries:
            position = f"line {entry.line} of {address}"
            if not isinstance(entry.path, str) or not is_sound(entry.path):
                path_shown = shown_key(entry.path) if isinstance(entry.path, str) else shown(entry.path)
                raise AnnotateError(
                    f"{position} has the path {path_shown}; a path is relative to the list's own folder, and has at "
                    f"most {MOST_KEY_BYTES:,} bytes; use / as separator; '.' and '..' are not allowed. Put "
                    "the list into a folder above the pictures"
                )
            if entry.path in lines:
                raise AnnotateError(
                    f"{position} has the path {entry.path!r}, as does line {lines[entry.path]}; remove one of them"
                )
            lines[entry.path] = entry.line
        self.keys = list(lines)
        self.handles = self.keys
        self.targets, self.target_names = as_targets(
            [entry.label for entry in entries], lambda row: f"line {entries[row].line} of {address}"
        )
        self.left_out = 0

    def __repr__(self) -> str:
        """The kind, the address and the number of pictures."""
        return f"ListedImages({str(self._path)!r}, {len(self.keys):,} pictures)"


def _read(path: Path) -> list[_Entry]:
    is_csv = path.suffix.lower() == ".csv"
    try:
        with path.open(encoding="utf-8-sig", newline="" if is_csv else "\n") as file:
            return list(_rows(file, path) if is_csv else _objects(file, path))
    except OSError as error:
        raise AnnotateError(f"cannot read the list {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotateError(f"cannot read the list {path}: {error}; a list is UTF-8 text") from error


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a list, none of which takes all memory: a file with holes may be one line of many gigabytes.

    Raises:
        AnnotateError: a line is too long.
    """
    number = 0
    while line := file.readline(_LONGEST + 1):
        number += 1
        if len(line) > _LONGEST:
            raise AnnotateError(
                f"line {number} of {path} has more than {_LONGEST:,} characters; a list has a line for each picture, "
                "with its path and its label. Check that the file is a list, and that it was copied whole"
            )
        yield line


def _rows(file: TextIO, path: Path) -> Iterator[_Entry]:
    """The entries of a CSV file, with labels as text, or None if empty."""
    rows = csv.reader(_lines(file, path), strict=True)
    header = [cell.strip() for cell in next(rows, [])]
    if header.count("path") != 1 or header.count("label") > 1:
        raise AnnotateError(
            f"the list {path} begins with {', '.join(header)!r}; its first line names the columns: path, or path,label"
        )
    for row in filter(None, rows):
        if len(row) != len(header):
            raise AnnotateError(
                f"line {rows.line_num} of {path} has {len(row)} fields, the first line has {len(header)}; a field with "
                'a comma in it must be between "'
            )
        yield _Entry(
            rows.line_num,
            row[header.index("path")],
            row[header.index("label")].strip() or None if "label" in header else None,
        )


def _objects(file: TextIO, path: Path) -> Iterator[_Entry]:
    """The entries of a JSONL file."""
    for number, line in enumerate(_lines(file, path), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            label = entry.get("label")
            yield _Entry(number, entry["path"], None if label == "" else label)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise AnnotateError(
                f'line {number} of {path} is not a JSON object with a "path": {line.strip()[:80]!r}'
            ) from error
