"""What is a label map, in one picture? A photograph, its label map, one location of it, and more photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from annotate.class_names import Names
from annotate.inspect.palette import Colour, font
from demo.photographs.collection import PICTURES, Photograph
from demo.photographs.measures import probability
from storage import LabelMap, LabelStore

# All under licences without "share alike", so that the picture can be shown anywhere; see LICENCES.md.
# The location is at the edge of the bee: mostly bee, and other insects that the network takes it for.
FIRST, LOCATION = "bee", (5, 4)
MORE = ("red_panda", "gibbon", "jaguars", "hens", "suspension_bridge", "macaw", "koala", "chameleon")

WIDTH, MARGIN, GAP = 1600, 32, 16
_PAPER, _INK, _FAINT, _TRACK = (255, 255, 255), (23, 23, 28), (105, 107, 117), (235, 236, 240)
# Blue, orange, green, purple, gold, red.
_COLOURS = ((38, 132, 255), (255, 122, 26), (0, 190, 130), (178, 84, 240), (250, 200, 0), (240, 56, 84))
_SHOWN = 0.03  # a class with less than this fraction of a picture's probability gets no colour


def poster(store: LabelStore, known: Sequence[Photograph]) -> Image.Image:
    """The picture that README opens with, from labels of the photographs."""
    named, names = {each.name: each for each in known}, Names.of(store)
    labels = {name: store.read([store.find(named[name].key)])[0] for name in (FIRST, *MORE)}
    sheet = Image.new("RGB", (WIDTH, 2000), _PAPER)
    draw = ImageDraw.Draw(sheet)
    h, w = store.schema.grid
    y = MARGIN
    draw.text((MARGIN, y), "A label map", _INK, font=font(46))
    draw.text(
        (MARGIN, y + 62),
        f"For each of {h} x {w} locations of a picture: which classes a network sees there, and how probable they are.",
        _FAINT,
        font=font(25),
    )
    draw.text((MARGIN, y + 96), "Soft labels to train other networks on, not outlines.", _FAINT, font=font(25))
    y += 156
    y = _first(sheet, named[FIRST], labels[FIRST], names, y)
    draw.text(
        (MARGIN, y),
        "More label maps. Each picture has its own colours: one for each large class, stronger where it is probable.",
        _FAINT,
        font=font(22),
    )
    y += 40
    columns = 4
    width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    height = width * 2 // 3
    for n, name in enumerate(MORE):
        x, top = MARGIN + n % columns * (width + GAP), y + n // columns * (height + 62)
        picture = _photograph(named[name])
        window = _window(picture.size, (width, height))
        colours = _colours(labels[name], first=n + 2)
        painted = _painted(picture, labels[name], colours, scale=width / (window[2] - window[0]), line=0)
        ratio = painted.width / picture.width
        part = painted.crop(tuple(round(edge * ratio) for edge in window)).resize((width, height))
        sheet.paste(part, (x, top), _rounded(part.size, 10))
        _tags(draw, x, top + height + 8, labels[name], colours, names, width)
    return sheet.crop((0, 0, WIDTH, y + -(-len(MORE) // columns) * (height + 62) + MARGIN // 2))


def _first(sheet: Image.Image, photograph: Photograph, label: LabelMap, names: Names, y: int) -> int:
    """The photograph, its label map, and what one location holds, side by side; returns where they end."""
    draw, picture = ImageDraw.Draw(sheet), _photograph(photograph)
    width = 560
    colours = _colours(label, first=0)
    plain = picture.resize((width, round(width * picture.height / picture.width)), Image.Resampling.LANCZOS)
    painted = _painted(picture, label, colours, scale=width / picture.width, line=1)
    x2, x3 = MARGIN + width + GAP, MARGIN + 2 * (width + GAP) + 40
    sheet.paste(plain, (MARGIN, y), _rounded(plain.size, 10))
    sheet.paste(painted, (x2, y), _rounded(painted.size, 10))
    (h, w), (row, column) = label.grid, LOCATION
    box = (
        x2 + column * width / w,
        y + row * plain.height / h,
        x2 + (column + 1) * width / w,
        y + (row + 1) * plain.height / h,
    )
    draw.rectangle(box, outline=_INK, width=6)
    draw.rectangle((box[0] + 2, box[1] + 2, box[2] - 2, box[3] - 2), outline=_PAPER, width=3)
    draw.text((MARGIN, y + plain.height + 10), "photograph", _FAINT, font=font(22))
    _tags(draw, x2, y + plain.height + 8, label, colours, names, width)
    _bars(sheet, x3, y, label, colours, names, WIDTH - MARGIN - x3)
    middle = (box[1] + box[3]) / 2
    draw.line((box[2], middle, x3 - 14, y + 14), fill=_INK, width=3)
    return y + max(plain.height + 70, 408)


def _bars(
    sheet: Image.Image, x: int, y: int, label: LabelMap, colours: dict[int, Colour], names: Names, width: int
) -> None:
    """The classes of the chosen location and their probabilities."""
    draw = ImageDraw.Draw(sheet)
    draw.text((x, y), "what one location holds", _INK, font=font(24))
    entries = [
        (names[int(number)], float(score), colours.get(int(number), _FAINT))
        for number, score in zip(label.classes[LOCATION], label.scores[LOCATION], strict=True)
    ]
    entries.append(("all other classes", float(label.remainder[LOCATION]), _FAINT))
    for n, (name, score, colour) in enumerate(entries):
        top = y + 48 + n * 55
        draw.text((x, top), _short(name, width - 80, 22), _INK, font=font(22))
        draw.text((x + width, top), _percent(score), _INK, font=font(22), anchor="ra")
        draw.rounded_rectangle((x, top + 32, x + width, top + 44), 6, fill=_TRACK)
        if score > 0:
            draw.rounded_rectangle((x, top + 32, x + max(12, round(score * width)), top + 44), 6, fill=colour)


def _colours(label: LabelMap, *, first: int) -> dict[int, Colour]:
    """The colours of a picture's largest classes by probability, the largest first, beginning with colour `first`."""
    numbers = [int(n) for n in np.unique(label.classes[label.scores > 0])]
    mass = {number: float(probability(label, number).mean()) for number in numbers}
    largest = [number for number in sorted(mass, key=mass.__getitem__, reverse=True) if mass[number] >= _SHOWN]
    return {number: _COLOURS[(first + n) % len(_COLOURS)] for n, number in enumerate(largest[: len(_COLOURS)])}


def _painted(
    picture: Image.Image, label: LabelMap, colours: dict[int, Colour], *, scale: float, line: int
) -> Image.Image:
    """The photograph in grey, under the best class of each location, opaque where it is probable."""
    size = round(picture.width * scale), round(picture.height * scale)
    photograph = picture.resize(size, Image.Resampling.LANCZOS)
    base = Image.blend(photograph.convert("L").convert("RGB"), photograph, 0.25)
    (h, w), best, score = label.grid, label.classes[..., 0], label.scores[..., 0]
    paint, mask = np.zeros((h, w, 3), np.uint8), np.zeros((h, w), np.uint8)
    for number, colour in colours.items():
        paint[best == number] = colour
        mask[best == number] = (score[best == number] * 0.72 * 255).astype(np.uint8)
    grown = Image.fromarray(paint).resize(size, Image.Resampling.NEAREST)
    base.paste(grown, (0, 0), Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    if line:
        grid = Image.new("L", size, 0)
        draw = ImageDraw.Draw(grid)
        for n in range(1, w):
            draw.line((n * size[0] / w, 0, n * size[0] / w, size[1]), fill=90, width=line)
        for n in range(1, h):
            draw.line((0, n * size[1] / h, size[0], n * size[1] / h), fill=90, width=line)
        base.paste(_PAPER, (0, 0, *size), grid)
    return base


def _tags(
    draw: ImageDraw.ImageDraw, x: int, y: int, label: LabelMap, colours: dict[int, Colour], names: Names, width: int
) -> None:
    """The classes of a picture beside their colours, as many as fit."""
    start = x
    for number, colour in colours.items():
        text = _short(names[number], 260, 22)
        if x > start and x + 28 + font(22).getlength(text) > start + width:
            return
        draw.rounded_rectangle((x, y + 5, x + 20, y + 25), 5, fill=colour)
        draw.text((x + 28, y + 2), text, _INK, font=font(22))
        x += 28 + round(font(22).getlength(text)) + 22


def _short(name: str, width: int, size: int) -> str:
    """The synonym that says most by itself, cut off where it is wider than this many pixels."""
    first, *others = name.split(", ")
    name = next((other for other in others if other.endswith(f" {first}")), first)  # rose hip, not hip
    while font(size).getlength(name) > width:
        name = f"{name.removesuffix('…')[:-1]}…"
    return name


def _percent(value: float) -> str:
    return f"{value:.0%}" if value >= 0.01 else "< 1%"


def _photograph(photograph: Photograph) -> Image.Image:
    return Image.open(PICTURES / photograph.key).convert("RGB")


def _window(size: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest window of this shape in the middle of a picture, pixels: left, top, right, bottom."""
    scale = min(size[0] / shape[0], size[1] / shape[1])
    width, height = shape[0] * scale, shape[1] * scale
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _rounded(size: tuple[int, int], radius: int) -> Image.Image:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius, fill=255)
    return mask
