"""How do labels look in a terminal? As half blocks in colour: two pixels a character, the upper and the lower."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
from PIL import Image

_WIDTH = 96  # characters at most


def can_show() -> bool:
    """Whether stdout is a terminal that shows colours, and nobody asked for none (NO_COLOR)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def half_blocks(picture: Image.Image, *, columns: int | None = None) -> str:
    """A picture as text: each character shows two pixels, one above the other, as \"▀\" in their colours.

    Args:
        picture: any.
        columns: characters in a line; by default those of the terminal, and no more than 96.
    """
    width = min(columns or shutil.get_terminal_size().columns, _WIDTH, picture.width)
    height = max(2, round(picture.height * width / picture.width / 2) * 2)
    pixels = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BOX))
    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m▀"
            for a, b in zip(upper.tolist(), lower.tolist(), strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)
