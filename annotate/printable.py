"""What of a text may reach a terminal? Keys, names and reasons come from anywhere, and must not steer it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def printable(text: str) -> str:
    """The text with every character that is not printable replaced, escape sequences among them."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def listed(entries: Sequence[str], shown: int) -> list[str]:
    """One printable, indented line for each of the first `shown` entries, and one that counts those after them."""
    lines = [f"  {printable(entry)}" for entry in entries[:shown]]
    return lines + [f"  … and {len(entries) - shown:,} more; --json lists all"] * (len(entries) > shown)


def without_home(text: str) -> str:
    """The text with ~ for the home folder, whose name nobody else needs to know."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
