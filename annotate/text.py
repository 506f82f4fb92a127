"""How is text shown to a person? Without control characters, since keys, names and reasons may come from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def printable(text: str) -> str:
    """The text with every character that is not printable replaced, such as those that begin escape sequences."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def listed(entries: Sequence[str], shown: int) -> list[str]:
    """One printable, indented line for each of the first `shown` entries, and one that counts the rest."""
    lines = [f"  {printable(entry)}" for entry in entries[:shown]]
    return lines + [f"  … and {len(entries) - shown:,} more; --json lists all"] * (len(entries) > shown)


def hide_home(text: str) -> str:
    """The text with ~ instead of the home folder, whose name is private."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def duration(seconds: float) -> str:
    """A duration for the user: "8.3 s", "12 min", "5 h 10 min"."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60:,} h {minutes % 60:02} min"


def size(count: int) -> str:
    """A number of bytes, in a unit that a person reads."""
    for unit, step in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:,.1f} {unit}"
    return f"{count} bytes"
