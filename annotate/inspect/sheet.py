"""How does a sheet show labels? As pictures, the best class at each location, its probability, and the remainder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from annotate.class_names import Names
from annotate.errors import AnnotateError, PictureError
from annotate.images.source import Picture
from annotate.inspect.palette import FAINT, INK, OTHER, PAPER, Colour, colours_of, fitted, font, legend, viridis
from annotate.inspect.picture import picture_of
from annotate.inspect.survey import refuse_logits
from annotate.model.recipe import annotator_of
from storage import Box, LabelMap, LabelStore
from storage.labelmap import no_class

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
    """Four panels for each row: the picture, one class of each location, its probability, and the remainder.

    Each panel draws the label over the part of the picture that its box names, so that an error of geometry is visible.

    Args:
        store: the labels.
        read: returns a labelled picture by its key; see `annotate.images.by_key`.
        rows: labelled rows of the store.
        names: names of the classes; default: those of the store.
        rank: 1 shows the best class of each location, 2 the second, and so on.
        side: longer side of a panel, pixels.

    Raises:
        AnnotateError: the scores are logits, or `rank` is not in 1 to k.
    """
    refuse_logits(store)
    if not 1 <= rank <= store.schema.k:
        raise AnnotateError(
            f"cannot show rank {rank}: each location has {store.schema.k} classes; give 1 to {store.schema.k}"
        )
    labels = store.read(rows)
    colours, entries = colours_of(names or Names.of(store), labels, rank - 1)
    columns = 2 if len(rows) > 2 else 1
    strips = [
        _strip(store.keys[row], partial(picture_of, store, row, labels[n], read), labels[n], colours, side, rank - 1)
        for n, row in enumerate(rows)
    ]
    lines = [strips[start : start + columns] for start in range(0, len(strips), columns)]
    strip_width = strips[0].width
    width = columns * strip_width + (columns - 1) * 3 * _GAP
    colour_key = legend(entries, width=width)
    head = 56
    height = head + sum(max(panel.height for panel in line) + _GAP for line in lines) + colour_key.height
    sheet = Image.new("RGB", (width + 2 * _GAP, height + _GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    (h, w), model = store.schema.grid, annotator_of(store.schema.recipe)
    draw.text((_GAP, 8), fitted(f"{model}, {h} x {w} locations, {len(rows)} pictures", width, 15), INK, font=font(15))
    for column in range(columns):
        for m, title in enumerate(
            ("picture", f"{_ordinal(rank)} class (opaque: confident)", "its probability", "remainder")
        ):
            x = _GAP + column * (strip_width + 3 * _GAP) + m * (side + _SEAM)
            draw.text((x, 33), fitted(title, side, 12), FAINT, font=font(12))
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
    """Pictures in one line for a terminal, each beside its classes; None if no picture can be read."""
    labels = store.read(rows)
    colours, _ = colours_of(names, labels, rank - 1)
    found: list[Image.Image] = []
    for n, row in enumerate(rows):
        try:
            picture = picture_of(store, row, labels[n], read)
        except PictureError:
            continue
        found += _panels(picture, labels[n], colours, side, rank - 1)[:2]
    if not found:
        return None
    line = Image.new("RGB", (sum(panel.width + 2 for panel in found) - 2, max(panel.height for panel in found)))
    x = 0
    for panel in found:
        line.paste(panel, (x, 0))
        x += panel.width + 2
    return line


def _ordinal(rank: int) -> str:
    return {1: "best", 2: "second", 3: "third"}.get(rank, f"{rank}th")


def _strip(
    key: str,
    pixels: Callable[[], Image.Image],
    label: LabelMap,
    colours: dict[int, Colour],
    side: int,
    rank: int = 0,
) -> Image.Image:
    """The four panels of one picture above its key; or the reason why there is no picture."""
    width, caption = 4 * side + 3 * _SEAM, 18
    try:
        picture = pixels()
    except PictureError as error:
        found = Image.new("RGB", (width, caption), PAPER)
        ImageDraw.Draw(found).text((0, 1), fitted(f"{key}: {error.reason}", width, 12), INK, font=font(12))
        return found
    panels = _panels(picture, label, colours, side, rank)
    found = Image.new("RGB", (width, panels[0].height + caption), PAPER)
    for m, panel in enumerate(panels):
        found.paste(panel, (m * (side + _SEAM), 0))
    ImageDraw.Draw(found).text((0, panels[0].height + 1), fitted(key, width, 12), FAINT, font=font(12))
    return found


def _panels(
    picture: Image.Image, label: LabelMap, colours: dict[int, Colour], side: int, rank: int
) -> tuple[Image.Image, ...]:
    """The picture; the picture under its classes, opaque where they are probable; their probability; the remainder."""
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    big = picture.resize(size, Image.Resampling.BICUBIC)
    best, confidence = label.classes[..., rank], label.scores[..., rank]
    paint = np.full((*label.grid, 3), OTHER, np.uint8)
    for number, colour in colours.items():
        paint[best == number] = colour
    known = best != no_class(best.dtype)
    opacity = np.where(known, _OPACITY * (0.25 + 0.75 * confidence), 0)
    overlay = big.copy()
    _lay(overlay, label.box, paint, (opacity * 255).astype(np.uint8))
    heats = []
    for values in (confidence, label.remainder):
        heat = Image.new("RGB", big.size, (228, 228, 231))
        _lay(heat, label.box, viridis(values), np.full(label.grid, 255, np.uint8))
        heats.append(heat)
    return big, overlay, *heats


def _lay(canvas: Image.Image, box: Box, cells: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Paint cells [h, w, 3] on the part of the canvas that the box names; what lies beyond the canvas is cut off.

    The outermost cells reach half a cell further, where the picture continues, as they do in training.
    """
    h, w = mask.shape
    box = box.to_outer(Box(-0.5 / h, -0.5 / w, 1 + 0.5 / h, 1 + 0.5 / w))
    left, top = round(box.left * canvas.width), round(box.top * canvas.height)
    size = max(1, round(box.right * canvas.width) - left), max(1, round(box.bottom * canvas.height) - top)
    canvas.paste(_grown(cells, size), (left, top), _grown(mask, size))


def _grown(cells: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """The cells with half a cell more on each side, as a picture of this width and height."""
    halves = cells.repeat(2, 0).repeat(2, 1)
    halves = np.pad(halves, ((1, 1), (1, 1), *[(0, 0)] * (halves.ndim - 2)), "edge")
    return Image.fromarray(halves).resize(size, Image.Resampling.NEAREST)
