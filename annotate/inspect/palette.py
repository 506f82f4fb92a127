"""Which colours do classes have? A palette for all kinds of colour vision, a scale of probability, and their legend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from annotate.class_names import Names
from annotate.text import printable
from storage import LabelMap
from storage.labelmap import no_class

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

# Seven colours of Okabe and Ito and three of Tol, chosen for every kind of colour vision; then darker variants of all.
_BASE = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)),
    *((136, 34, 85), (51, 34, 136), (255, 204, 204)),
)
PALETTE: tuple[Colour, ...] = (*_BASE, *((r * 5 // 9, g * 5 // 9, b * 5 // 9) for r, g, b in _BASE))
OTHER = (150, 150, 150)
INK, PAPER, FAINT = (24, 24, 27), (255, 255, 255), (113, 113, 122)
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def colour_of(number: int) -> Colour:
    """The colour of a class by its number alone; some classes share one."""
    return PALETTE[number % len(PALETTE)]


def colours_of(names: Names, labels: LabelMap, rank: int) -> tuple[dict[int, Colour], list[tuple[str, Colour]]]:
    """The colour of each class of these labels, as different as possible, and the entries of the legend.

    A class has the colour of its number (see `colour_of`), unless a more frequent class has taken it. If there are more
    classes than colours, the least frequent ones are all shown in `OTHER`.

    Args:
        names: names of the classes.
        labels: labels of some pictures.
        rank: 0 for the best class of each location, 1 for the second, and so on.
    """
    best = labels.classes[..., rank]
    counts = Counter(best[best != no_class(best.dtype)].tolist())
    colours: dict[int, Colour] = {}
    free = list(range(len(PALETTE)))
    for number, _ in counts.most_common(len(PALETTE)):
        slot = number % len(PALETTE)
        slot = slot if slot in free else free[0]
        free.remove(slot)
        colours[number] = PALETTE[slot]
    entries = [(names[number], colour) for number, colour in sorted(colours.items())]
    if len(counts) > len(colours):
        entries.append((f"{len(counts) - len(colours)} more classes", OTHER))
    return colours, entries


def viridis(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours uint8 [h, w, 3] of values [h, w] in [0, 1], from dark to light."""
    stops = np.array(_VIRIDIS, float)
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(values, at, stops[:, channel]) for channel in range(3)], -1).astype(np.uint8)


def legend(classes: Sequence[tuple[str, Colour]], *, width: int) -> Image.Image:
    """A picture of this width in pixels: the names of classes beside their colours, and the scale of probability."""
    face = font(13)
    entries = [(fitted(name, 220, 13), colour) for name, colour in classes]
    step = max([round(face.getlength(name)) for name, _ in entries], default=0) + 34
    per_line = max(1, (width - 230) // step)
    lines = max(1, -(-len(entries) // per_line))
    found = Image.new("RGB", (width, lines * 22 + 8), PAPER)
    draw = ImageDraw.Draw(found)
    for n, (name, colour) in enumerate(entries):
        x, y = (n % per_line) * step, (n // per_line) * 22 + 4
        draw.rounded_rectangle((x, y, x + 14, y + 14), 3, fill=colour)
        draw.text((x + 20, y - 1), name, INK, font=face)
    ramp = Image.fromarray(viridis(np.linspace(0, 1, 110, dtype=np.float32)[None].repeat(14, 0)))
    x = width - 150
    found.paste(ramp, (x, 4))
    draw.text((x - 84, 3), "probability", INK, font=face)
    draw.text((x - 12, 3), "0", FAINT, font=face)
    draw.text((x + 115, 3), "1", FAINT, font=face)
    return found


def fitted(text: str, width: int, size: int) -> str:
    """The printable text, shortened in its middle until it is at most `width` pixels wide in the font of this size."""
    text, face = printable(text), font(size)
    if face.getlength(text) <= width:
        return text
    keep = len(text)
    while keep > 2 and face.getlength(text[: keep // 2] + "…" + text[-(keep // 2) :]) > width:
        keep -= 1
    return text[: keep // 2] + "…" + text[-(keep // 2) :]


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of all sheets, by its size in pixels. PIL's own has no é; it is used without Source Sans."""
    try:
        folder = files("font_source_sans_pro") / "files"
    except ModuleNotFoundError:
        return ImageFont.load_default(size)
    return ImageFont.truetype(str(folder / "SourceSansPro-Regular.ttf"), size)
