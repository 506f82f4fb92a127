"""What are the keys of a large collection? As in ImageNet: 1,000 folders, and files named by folder and number."""

from __future__ import annotations

FOLDERS = 1000
_NUMBERS = 20_011  # a prime: the numbers of 20,010 pictures in a row differ


def key(row: int, rows: int) -> str:
    """The key of a row of `rows`, which are spread evenly over the folders; "n01440764/n01440764_7919.JPEG"."""
    folder = f"n{1_440_764 + 13_759 * (row * FOLDERS // rows):08}"
    return f"{folder}/{folder}_{row * 7919 % _NUMBERS}.JPEG"


def absent_key(row: int, rows: int) -> str:
    """A key of the same form that no row has."""
    name = key(row, rows).removesuffix(".JPEG")
    return f"{name}{_NUMBERS}.JPEG"
