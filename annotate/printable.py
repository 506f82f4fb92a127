"""What of a text may reach a terminal? Keys, names and reasons come from anywhere, and must not steer it."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with every character that is not printable replaced, escape sequences among them."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
