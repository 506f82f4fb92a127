"""Which colours do classes have? The largest ones of a picture, from a palette for all kinds of colour vision."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from annotate.text import printable
from storage import LabelMap

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

# Seven colours of Okabe and Ito and three of Tol, chosen for every kind of colour vision; then darker variants of all.
_BASE = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)),
    *((136, 34, 85), (51, 34, 136), (255, 204, 204)),
)
PALETTE: tuple[Colour, ...] = (*_BASE, *((r * 5 // 9, g * 5 // 9, b * 5 // 9) for r, g, b in _BASE))
# On pictures: what can be seen on a bright one and on a dark one.
ON_PICTURES: tuple[Colour, ...] = (*_BASE[:9], (153, 153, 51))
OTHER = (150, 150, 150)
SHOWN, LEAST = 8, 0.02  # classes of a picture that get a colour: how many, and the least fraction of its probability
INK, PAPER, FAINT = (24, 24, 27), (255, 255, 255), (113, 113, 122)
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def colour_of(number: int) -> Colour:
    """The colour of a class by its number alone; some classes share one."""
    return PALETTE[number % len(PALETTE)]


def shares(label: LabelMap) -> dict[int, float]:
    """The mean probability of each class over all locations of one picture, the largest first.

    They sum to 1 minus the mean remainder.
    """
    known = label.scores > 0
    classes, where = np.unique(label.classes[known], return_inverse=True)
    mass = np.bincount(where, label.scores[known], minlength=len(classes)) / (label.grid[0] * label.grid[1])
    order = np.argsort(-mass, kind="stable")
    return dict(zip(classes[order].tolist(), mass[order].tolist(), strict=True))


def largest(of_class: Mapping[int, float]) -> dict[int, float]:
    """The classes of a picture that get a colour: at most `SHOWN`, those with at least `LEAST` of its probability."""
    found = sorted(of_class.items(), key=lambda entry: -entry[1])[:SHOWN]
    return dict(entry for n, entry in enumerate(found) if n == 0 or entry[1] >= LEAST)


def colours_of(pictures: Sequence[Mapping[int, float]]) -> list[dict[int, Colour]]:
    """The colours of the largest classes of each picture; on one picture, no two classes have the same.

    A class keeps the colour that the first picture gave it. Only on a picture where another class has that colour by
    then, it gets a free one, which differs most from all that are taken. The first picture gives it the colour of its
    number, or one that no class has yet.

    Args:
        pictures: for each picture the probability of its classes, as `shares` finds it.
    """
    kept: dict[int, int] = {}
    found = []
    for of_class in pictures:
        numbers = [*largest(of_class)]
        slots: dict[int, int] = {}
        for number in sorted(numbers, key=lambda n: n not in kept):  # those that have a colour choose first
            slot = kept.get(number, number % len(ON_PICTURES))
            if number not in kept and slot in kept.values():
                unused = set(range(len(ON_PICTURES))) - {*kept.values(), *slots.values()}
                slot = _most_different(unused, slots.values()) if unused else slot
            if slot in slots.values():
                slot = _most_different(set(range(len(ON_PICTURES))) - {*slots.values()}, slots.values())
            slots[number] = slot
            kept.setdefault(number, slot)
        found.append({number: ON_PICTURES[slots[number]] for number in numbers})
    return found


def _most_different(free: Collection[int], taken: Collection[int]) -> int:
    """The free colour whose nearest one among those that are taken is the farthest."""

    def distance(slot: int) -> float:
        return min((_distance(ON_PICTURES[slot], ON_PICTURES[other]) for other in taken), default=0)

    return max(sorted(free), key=distance)


def _distance(one: Colour, other: Colour) -> float:
    """How different two colours look: by the "redmean" formula, which weighs channels by how well they are seen."""
    red = (one[0] + other[0]) / 2
    r, g, b = (a - c for a, c in zip(one, other, strict=True))
    return (2 + red / 256) * r * r + 4 * g * g + (2 + (255 - red) / 256) * b * b


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
