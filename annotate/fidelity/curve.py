"""How is fidelity drawn? KL and agreement over the size of crops, with their intervals, in two panels side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from annotate.fidelity.figures import Closeness
from annotate.inspect.palette import FAINT, INK, PALETTE, PAPER, Colour, fitted, font

_FINE = 2  # drawn this many times as large, then reduced: PIL's lines have no smooth edges
_WIDTH, _HEIGHT = 1200, 500
_TOP, _BOTTOM, _LEFT, _GAP, _RIGHT = 78, 58, 62, 84, 24
_SPLIT = (_WIDTH - _LEFT - _GAP - _RIGHT) // 2
_GRID = (228, 228, 231)
COLOURS = tuple(PALETTE[n] for n in (4, 5, 2, 6, 0, 1))  # those of the palette that are dark enough for lines on white
_BANDS = 3  # of more lines, intervals are drawn as bars, and points so many pixels beside each other
_BESIDE = 4
_TICKS = 0.08, 0.15, 0.25, 0.5, 0.75, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of both panels: what it is called, and its figures by the area of crops, ascending."""

    name: str
    points: Sequence[tuple[float, Closeness]]


def curve(title: str, lines: Sequence[Line]) -> Image.Image:
    """Draw lines in two panels: KL from 0 on, and agreement from 0 to 100 %; areas are on a logarithmic axis."""
    sheet = Image.new("RGB", (_WIDTH * _FINE, _HEIGHT * _FINE), PAPER)
    draw = ImageDraw.Draw(sheet)
    _text(draw, (_LEFT - 40, 12), fitted(title, _WIDTH - 60, 17), INK, 17)
    _key(draw, lines)
    most = max(each.kl_interval[1] for line in lines for _, each in line.points)
    step = _step(most)
    top = step * math.ceil(most / step + 1e-9)
    _panel(
        sheet,
        _LEFT,
        "KL of the answer on the crop from its target, nats",
        [(n * step, f"{n * step:.{_digits(step)}f}") for n in range(round(top / step) + 1)],
        lines,
        lambda each: (each.kl, *each.kl_interval),
    )
    _panel(
        sheet,
        _LEFT + _SPLIT + _GAP,
        "same most probable class",
        [(n / 5, f"{n * 20} %") for n in range(6)],
        lines,
        lambda each: (each.agreement, *each.agreement_interval),
    )
    return sheet.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)


def _panel(
    sheet: Image.Image,
    left: int,
    head: str,
    ticks: Sequence[tuple[float, str]],
    lines: Sequence[Line],
    values: Callable[[Closeness], tuple[float, float, float]],
) -> None:
    areas = [area for line in lines for area, _ in line.points]
    low, high = math.log(min(*areas, 0.999)), 0.0
    bottom, most = _HEIGHT - _BOTTOM, ticks[-1][0]

    def at(area: float, value: float) -> tuple[float, float]:
        x = left + 14 + (math.log(area) - low) / (high - low) * (_SPLIT - 28)
        return x * _FINE, (bottom - value / most * (bottom - _TOP)) * _FINE

    draw = ImageDraw.Draw(sheet)
    _text(draw, (left, _TOP - 24), head, INK, 13)
    for value, text in ticks:
        y = at(1, value)[1]
        draw.line((left * _FINE, y, (left + _SPLIT) * _FINE, y), _GRID, _FINE)
        _text(draw, (left - 8, y / _FINE), text, FAINT, 12, anchor="rm")
    shown = [area for area in _TICKS if area >= min(areas) - 1e-9] or sorted({*areas})
    for area in shown:
        x = at(area, 0)[0]
        draw.line((x, bottom * _FINE, x, (bottom + 5) * _FINE), FAINT, _FINE)
        _text(draw, (x / _FINE, bottom + 9), f"{area * 100:g} %", FAINT, 12, anchor="ma")
    _text(draw, (left + _SPLIT / 2, bottom + 30), "area of the crop, of its picture's", FAINT, 12, anchor="ma")
    colours, many = _colours(len(lines)), len(lines) > _BANDS
    for number, (line, colour) in enumerate(zip(lines, colours, strict=True)):
        if many or len(line.points) == 1:
            beside = _BESIDE * _FINE * (number - (len(lines) - 1) / 2)
            for area, each in line.points:
                (x, least), (_, most_y) = (at(area, value) for value in values(each)[1:])
                draw.line((x + beside, least, x + beside, most_y), colour, _FINE)
        else:
            ends = [(area, values(each)[1:]) for area, each in line.points]
            band = [at(area, upper) for area, (_, upper) in ends] + [at(area, lower) for area, (lower, _) in ends[::-1]]
            mask = Image.new("L", sheet.size)
            ImageDraw.Draw(mask).polygon(band, 34)
            sheet.paste(colour, (0, 0), mask)
    for number, (line, colour) in enumerate(zip(lines, colours, strict=True)):
        beside = _BESIDE * _FINE * (number - (len(lines) - 1) / 2) if many else 0
        points = [(x + beside, y) for x, y in (at(area, values(each)[0]) for area, each in line.points)]
        draw.line(points, colour, 3 * _FINE, joint="curve")
        for x, y in points:
            draw.ellipse((x - 4 * _FINE, y - 4 * _FINE, x + 4 * _FINE, y + 4 * _FINE), colour)


def _key(draw: ImageDraw.ImageDraw, lines: Sequence[Line]) -> None:
    """What each line is called, in one row beside its colour."""
    x = float(_LEFT - 40)
    room = (_WIDTH - 60) // len(lines)
    for line, colour in zip(lines, _colours(len(lines)), strict=True):
        name = fitted(line.name, room - 50, 13)
        draw.line((x * _FINE, 42 * _FINE, (x + 20) * _FINE, 42 * _FINE), colour, 3 * _FINE)
        _text(draw, (x + 26, 42), name, INK, 13, anchor="lm")
        x += 26 + font(13).getlength(name) + 24


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: Colour, size: int, anchor: str = "la"
) -> None:
    draw.text((at[0] * _FINE, at[1] * _FINE), text, colour, font=font(size * _FINE), anchor=anchor)


def _colours(count: int) -> list[Colour]:
    return [COLOURS[n % len(COLOURS)] for n in range(count)]


def _step(most: float) -> float:
    """A round distance between ticks, of which three to six make the axis."""
    rough = max(most, 1e-3) / 5
    unit: float = 10.0 ** math.floor(math.log10(rough))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)


def _digits(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))
