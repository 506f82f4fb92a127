"""What do the labels look like? A contact sheet: the picture, the best class at each location, and how sure it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from annotate.errors import AnnotateError, PictureError
from annotate.images.source import Picture
from annotate.inspect.names import Names
from annotate.inspect.picture import picture_of
from annotate.inspect.survey import refuse_logits
from annotate.printable import printable
from annotate.recipe import annotator_of
from storage import Box, LabelMap, LabelStore
from storage.labelmap import no_class

# Okabe and Ito's seven colours and three of Tol's, which people with any colour vision tell apart; then darker ones.
_BASE = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)),
    *((136, 34, 85), (51, 34, 136), (255, 204, 204)),
)
PALETTE: tuple[tuple[int, int, int], ...] = (*_BASE, *((r * 5 // 9, g * 5 // 9, b * 5 // 9) for r, g, b in _BASE))
_OTHER = (150, 150, 150)
_INK, _PAPER, _FAINT = (24, 24, 27), (255, 255, 255), (113, 113, 122)
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_OPACITY = 0.62
_GAP, _SEAM = 10, 4


def contact_sheet(
    store: LabelStore,
    read: Callable[[str], Picture],
    rows: Sequence[int],
    *,
    names: Names | None = None,
    rank: int = 1,
    side: int = 176,
) -> Image.Image:
    """Four panels for each row of the store: the picture, a class of each location, its probability, the remainder.

    Each panel lays the label over the part of the picture that its box names, so that an error of geometry shows.

    Args:
        store: the labels.
        read: gives a picture that was labelled by its key; see `annotate.images.by_key`.
        rows: of the store, labelled ones.
        names: of the classes; by default those of the store.
        rank: 1 shows the best class of each location, 2 the second, and so on.
        side: of a panel, pixels.

    Raises:
        AnnotateError: the scores are logits, or there is no such rank.
    """
    refuse_logits(store)
    if not 1 <= rank <= store.schema.k:
        raise AnnotateError(f"rank {rank} was asked for, of the {store.schema.k} classes that each location has")
    labels = store.read(rows)
    colours, legend_lines = _colours(names or Names.of(store), labels, rank - 1)
    columns = 2 if len(rows) > 2 else 1
    strips = [
        _strip(store.keys[row], partial(picture_of, store, row, labels[n], read), labels[n], colours, side, rank - 1)
        for n, row in enumerate(rows)
    ]
    lines = [strips[start : start + columns] for start in range(0, len(strips), columns)]
    strip_width = strips[0].width
    width = columns * strip_width + (columns - 1) * 3 * _GAP
    colour_key = legend(legend_lines, width=width)
    head = 56
    height = head + sum(max(panel.height for panel in line) + _GAP for line in lines) + colour_key.height
    sheet = Image.new("RGB", (width + 2 * _GAP, height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    (h, w), model = store.schema.grid, annotator_of(store.schema.recipe)
    draw.text(
        (_GAP, 8), _fitting(f"{model}, {h} x {w} locations, {len(rows)} pictures", width, 15), _INK, font=_font(15)
    )
    for column in range(columns):
        for m, title in enumerate(
            ("picture", f"{_ordinal(rank)} class, as opaque as sure", "its probability", "remainder")
        ):
            x = _GAP + column * (strip_width + 3 * _GAP) + m * (side + _SEAM)
            draw.text((x, 33), _fitting(title, side, 12), _FAINT, font=_font(12))
    y = head
    for line in lines:
        for column, panel in enumerate(line):
            sheet.paste(panel, (_GAP + column * (strip_width + 3 * _GAP), y))
        y += max(panel.height for panel in line) + _GAP
    sheet.paste(colour_key, (_GAP, y))
    return sheet


def strip_of(
    store: LabelStore,
    read: Callable[[str], Picture],
    rows: Sequence[int],
    *,
    names: Names,
    rank: int = 1,
    side: int = 40,
) -> Image.Image | None:
    """Pictures side by side, each with its classes beside it, for a terminal; None where none can be read."""
    labels = store.read(rows)
    colours, _ = _colours(names, labels, rank - 1)
    found: list[Image.Image] = []
    for n, row in enumerate(rows):
        try:
            picture = picture_of(store, row, labels[n], read)
        except PictureError:
            continue
        found += _panels(picture, labels[n], colours, side, rank - 1)[:2]
    if not found:
        return None
    both = Image.new("RGB", (sum(panel.width + 2 for panel in found) - 2, max(panel.height for panel in found)))
    x = 0
    for panel in found:
        both.paste(panel, (x, 0))
        x += panel.width + 2
    return both


def _ordinal(rank: int) -> str:
    return {1: "best", 2: "second", 3: "third"}.get(rank, f"{rank}th")


def _strip(
    key: str,
    pixels: Callable[[], Image.Image],
    label: LabelMap,
    colours: dict[int, tuple[int, int, int]],
    side: int,
    rank: int = 0,
) -> Image.Image:
    """The four panels of one picture, and its key below them; or why there is no picture."""
    width, caption = 4 * side + 3 * _SEAM, 18
    try:
        picture = pixels()
    except PictureError as error:
        found = Image.new("RGB", (width, caption), _PAPER)
        ImageDraw.Draw(found).text((0, 1), _fitting(f"{key}: {error.reason}", width, 12), _INK, font=_font(12))
        return found
    panels = _panels(picture, label, colours, side, rank)
    found = Image.new("RGB", (width, panels[0].height + caption), _PAPER)
    for m, panel in enumerate(panels):
        found.paste(panel, (m * (side + _SEAM), 0))
    ImageDraw.Draw(found).text((0, panels[0].height + 1), _fitting(key, width, 12), _FAINT, font=_font(12))
    return found


def _colours(
    names: Names, labels: LabelMap, rank: int
) -> tuple[dict[int, tuple[int, int, int]], list[tuple[str, tuple[int, int, int]]]]:
    """The colour of each class on this sheet, its number's own while that is free, and the lines of the legend."""
    best = labels.classes[..., rank]
    counts = Counter(best[best != no_class(best.dtype)].tolist())
    colours: dict[int, tuple[int, int, int]] = {}
    free = list(range(len(PALETTE)))
    for number, _ in counts.most_common(len(PALETTE)):
        slot = number % len(PALETTE)
        slot = slot if slot in free else free[0]
        free.remove(slot)
        colours[number] = PALETTE[slot]
    lines = [(names[number], colour) for number, colour in sorted(colours.items())]
    if len(counts) > len(colours):
        lines.append((f"{len(counts) - len(colours)} more classes", _OTHER))
    return colours, lines


def _panels(
    picture: Image.Image, label: LabelMap, colours: dict[int, tuple[int, int, int]], side: int, rank: int
) -> tuple[Image.Image, ...]:
    """The picture; classes over it, the surer the more opaque; their probability; the remainder. None beyond side."""
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    big = picture.resize(size, Image.Resampling.BICUBIC)
    best, confidence = label.classes[..., rank], label.scores[..., rank]
    paint = np.full((*label.grid, 3), _OTHER, np.uint8)
    for number, colour in colours.items():
        paint[best == number] = colour
    known = best != no_class(best.dtype)
    opacity = np.where(known, _OPACITY * (0.25 + 0.75 * confidence), 0)
    laid = big.copy()
    _lay(laid, label.box, paint, (opacity * 255).astype(np.uint8))
    heats = []
    for values in (confidence, label.remainder):
        heat = Image.new("RGB", big.size, (228, 228, 231))
        _lay(heat, label.box, viridis(values), np.full(label.grid, 255, np.uint8))
        heats.append(heat)
    return big, laid, *heats


def _lay(canvas: Image.Image, box: Box, cells: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Paint cells [h, w, 3] on the part of the canvas that the box names; what lies beyond the canvas is cut off.

    The outermost cells speak for half a cell more, where the picture goes on, as they do in training.
    """
    h, w = mask.shape
    box = box.place(Box(-0.5 / h, -0.5 / w, 1 + 0.5 / h, 1 + 0.5 / w))
    left, top = round(box.left * canvas.width), round(box.top * canvas.height)
    size = max(1, round(box.right * canvas.width) - left), max(1, round(box.bottom * canvas.height) - top)
    canvas.paste(_grown(cells, size), (left, top), _grown(mask, size))


def _grown(cells: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Cells with half a cell more on each side, as a picture of this width and height."""
    halves = cells.repeat(2, 0).repeat(2, 1)
    halves = np.pad(halves, ((1, 1), (1, 1), *[(0, 0)] * (halves.ndim - 2)), "edge")
    return Image.fromarray(halves).resize(size, Image.Resampling.NEAREST)


def viridis(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours uint8 [h, w, 3] of values [h, w] in [0, 1], dark to light."""
    stops = np.array(_VIRIDIS, float)
    place = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(values, place, stops[:, channel]) for channel in range(3)], -1).astype(np.uint8)


def legend(names: list[tuple[str, tuple[int, int, int]]], *, width: int) -> Image.Image:
    """The classes with their colours, and the scale of confidence."""
    font = _font(13)
    entries = [(_fitting(name, 220, 13), colour) for name, colour in names]
    step = max([round(font.getlength(name)) for name, _ in entries], default=0) + 34
    per_line = max(1, (width - 230) // step)
    lines = max(1, -(-len(entries) // per_line))
    found = Image.new("RGB", (width, lines * 22 + 8), _PAPER)
    draw = ImageDraw.Draw(found)
    for n, (name, colour) in enumerate(entries):
        x, y = (n % per_line) * step, (n // per_line) * 22 + 4
        draw.rounded_rectangle((x, y, x + 14, y + 14), 3, fill=colour)
        draw.text((x + 20, y - 1), name, _INK, font=font)
    ramp = Image.fromarray(viridis(np.linspace(0, 1, 110, dtype=np.float32)[None].repeat(14, 0)))
    x = width - 150
    found.paste(ramp, (x, 4))
    draw.text((x - 84, 3), "probability", _INK, font=font)
    draw.text((x - 12, 3), "0", _FAINT, font=font)
    draw.text((x + 115, 3), "1", _FAINT, font=font)
    return found


def _fitting(text: str, width: int, size: int) -> str:
    """The text, shortened in its middle until it fits; without what no font shows."""
    text, font = printable(text), _font(size)
    if font.getlength(text) <= width:
        return text
    keep = len(text)
    while keep > 2 and font.getlength(text[: keep // 2] + "…" + text[-(keep // 2) :]) > width:
        keep -= 1
    return text[: keep // 2] + "…" + text[-(keep // 2) :]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
