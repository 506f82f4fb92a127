"""Does a value that was read from a store have the type and the range of its field?

A checksum shows that a header or a record has not changed since it was written, but not who wrote it. So every field is
checked before it is used: a value of the wrong type would end in a traceback, and a number that is too large could use
up all memory or time.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

MOST_BYTES = 2**25  # of a header: half a million names of classes
_MOST_OBJECTS = 2**20
_DEEPEST = 100  # levels of nested JSON objects and lists; Python's own limit is about a thousand
_SHA256 = re.compile("[0-9a-f]{64}")
# The beginning of an object or a list, or a whole text. One that does not end goes on to the end of all: otherwise each
# quote in it would be tried again.
_BEGINNING = re.compile(rb'[\[{]|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)


def parsed(data: bytes, *, most_bytes: int = MOST_BYTES, most: int = _MOST_OBJECTS) -> Any:
    """The value of a JSON text. Each object or list in it takes 64 bytes or more of memory, and 3 bytes of text.

    Args:
        data: the text, in UTF-8.
        most_bytes: how many bytes it may have.
        most: how many objects and lists. Defaults: those of a header.

    Raises:
        ValueError: it is none, or has more bytes, objects or lists.
        RecursionError: it is nested too deeply for Python.
    """
    if len(data) > most_bytes:
        raise ValueError(f"it has {len(data):,} bytes; at most {most_bytes:,} are read")
    if data.count(b"[") + data.count(b"{") > most:  # those within texts, such as names of classes, count only here
        found = sum(not match[0].startswith(b'"') for match in _BEGINNING.finditer(data))
        if found > most:
            raise ValueError(f"it has {found:,} objects and lists; at most {most:,} are read")
    return json.loads(data)


def whole_number(values: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """A whole number in a range, both ends included. 7.0 counts as 7: tools that copy JSON change one into the other.

    Raises:
        ValueError: it is missing, or has another type or range.
    """
    value = values.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is {shown(value)}, not a whole number from {least:,} to {most:,}")
    return value


def number(values: Mapping[str, Any], name: str) -> float:
    """A number that is not negative, and fits into a finite float: JSON's whole numbers may be larger.

    Raises:
        ValueError: it is missing, or has another type or range.
    """
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{name} is {shown(value)}, not a number from 0 to {sys.float_info.max:.1e}")
    return value


def text(values: Mapping[str, Any], name: str) -> str:
    """A text.

    Raises:
        ValueError: it is missing, or has another type or range.
    """
    value = values.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {shown(value)}, not a text")
    return value


def sha256(values: Mapping[str, Any], name: str) -> str:
    """A SHA-256 in hexadecimal.

    Raises:
        ValueError: it is missing, or has another type or range.
    """
    value = text(values, name)
    if not _SHA256.fullmatch(value):
        raise ValueError(f"{name} is {shown(value)}, not the 64 hexadecimal digits of a SHA-256")
    return value


def json_object(values: Any, name: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it has another type, or objects and lists are nested too deeply.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{name} is {shown(values)}, not a JSON object")
    level: list[Any] = [values]
    for _ in range(_DEEPEST):
        inner = [each.values() if isinstance(each, dict) else each for each in level]
        if not (level := [value for each in inner for value in each if isinstance(value, dict | list)]):
            return values
    raise ValueError(f"{name} has more than {_DEEPEST} levels of objects and lists")


def shown(value: object) -> str:
    """The value as text for an error message, shortened to one line."""
    if isinstance(value, int) and abs(value) > 10**30:  # Python refuses to write very long numbers
        return "a number of more than 30 digits"
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:60]}…"
