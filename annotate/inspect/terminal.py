"""How does a terminal show a picture? As coloured half blocks: each character shows two pixels, one above the other."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
from PIL import Image

_WIDTH = 96  # characters at most


def can_show() -> bool:
    """Whether stdout is a terminal with at least 256 colours, and NO_COLOR is not set."""
    many = _has_all_colours() or "256color" in os.environ.get("TERM", "")
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and many


def _has_all_colours() -> bool:
    return os.environ.get("COLORTERM", "") in ("truecolor", "24bit") or os.environ.get("TERM", "").endswith("direct")


def half_blocks(picture: Image.Image, *, columns: int | None = None) -> str:
    """A picture as text: each character shows two pixels, one above the other, as \"▀\" in their colours.

    Args:
        picture: a picture of any size.
        columns: characters in a line, at most 96; default: the terminal's width.
    """
    width = min(columns or shutil.get_terminal_size().columns, _WIDTH, picture.width)
    height = max(2, round(picture.height * width / picture.width / 2) * 2)
    pixels = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BOX))
    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        cells = (f"\x1b[38;{_code(a)};48;{_code(b)}m▀" for a, b in zip(upper.tolist(), lower.tolist(), strict=True))
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)


def _code(colour: list[int]) -> str:
    """A colour in an escape sequence: exact, or the nearest of the 216 colours of every 256-colour terminal."""
    if _has_all_colours():
        return f"2;{colour[0]};{colour[1]};{colour[2]}"
    r, g, b = (0 if value < 48 else 1 if value < 115 else (value - 35) // 40 for value in colour)
    return f"5;{16 + 36 * r + 6 * g + b}"
