"""How does a sheet show labels? As pictures, one class at each location, its probability, and the largest classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from PIL import Image, ImageDraw

from annotate.class_names import Names
from annotate.errors import AnnotateError, PictureError
from annotate.images.source import Picture
from annotate.inspect.overlay import class_list, fit, heat, overlay, picture_of
from annotate.inspect.palette import FAINT, INK, PAPER, Colour, colours_of, fitted, font, largest, legend, shares
from annotate.inspect.survey import refuse_logits
from annotate.model.recipe import annotator_of
from storage import LabelMap, LabelStore

_GAP, _SEAM = 10, 6
NAMES = 196  # width of the column of names, pixels


def contact_sheet(
    store: LabelStore,
    read: Callable[[str], Picture],
    rows: Sequence[int],
    *,
    names: Names | None = None,
    rank: int = 1,
    side: int = 176,
) -> Image.Image:
    """Four panels for each row: the picture, one class of each location, its probability, and the largest classes.

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
    names = names or Names.of(store)
    labels = store.read(rows)
    masses = [shares(labels[n]) for n in range(len(rows))]
    strips = []
    for n, (row, colours) in enumerate(zip(rows, colours_of(masses), strict=True)):
        pixels = partial(picture_of, store, row, labels[n], read)
        listed = class_list([(c, [part]) for c, part in largest(masses[n]).items()], colours, names, width=NAMES)
        panels = partial(panels_of, pixels, labels[n], colours, side, rank - 1)
        strips.append(strip(store.keys[row], panels, listed, side=side))
    (h, w), model = store.schema.grid, annotator_of(store.schema.recipe)
    return page(
        f"{model}, {h} x {w} locations, {len(rows)} pictures",
        ("picture", f"{_ordinal(rank)} class (opaque: probable)", "its probability"),
        strips,
        side=side,
    )


def strip(
    key: str, panels: Callable[[], Sequence[Image.Image]], listed: Image.Image, *, side: int, count: int = 3
) -> Image.Image:
    """The `count` panels of one picture beside its classes, above its key; or the reason why there is no picture."""
    width, caption = count * (side + _SEAM) + listed.width, 18
    try:
        shown = panels()
    except PictureError as error:
        found = Image.new("RGB", (width, caption), PAPER)
        ImageDraw.Draw(found).text((0, 1), fitted(f"{key}: {error.reason}", width, 12), INK, font=font(12))
        return found
    height = max(shown[0].height, listed.height)
    found = Image.new("RGB", (width, height + caption), PAPER)
    for m, panel in enumerate(shown):
        found.paste(panel, (m * (side + _SEAM), 0))
    found.paste(listed, (count * (side + _SEAM), 0))
    ImageDraw.Draw(found).text((0, shown[0].height + 1), fitted(key, count * side, 12), FAINT, font=font(12))
    return found


def page(
    title: str,
    heads: Sequence[str],
    strips: Sequence[Image.Image],
    *,
    side: int,
    last: str = "largest classes, mean probability",
    scale: bool = True,
) -> Image.Image:
    """Strips in one column or two, below a title and a head for each panel.

    Args:
        title: the first line.
        heads: of the panels.
        strips: of `strip`, with as many panels.
        side: longer side of a panel, pixels.
        last: the head of the names.
        scale: whether the colours of probabilities are explained at the end.
    """
    columns = 2 if len(strips) > 2 else 1
    lines = [strips[start : start + columns] for start in range(0, len(strips), columns)]
    strip_width = max(each.width for each in strips)
    width = columns * strip_width + (columns - 1) * 3 * _GAP
    foot = legend([], width=width) if scale else Image.new("RGB", (width, 1), PAPER)
    head = 56
    height = head + sum(max(each.height for each in line) + _GAP for line in lines) + foot.height
    sheet = Image.new("RGB", (width + 2 * _GAP, height + _GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 8), fitted(title, width, 15), INK, font=font(15))
    for column in range(columns):
        for m, text in enumerate((*heads, last)):
            x = _GAP + column * (strip_width + 3 * _GAP) + m * (side + _SEAM)
            draw.text(
                (x, 33),
                fitted(text, side if m < len(heads) else strip_width - m * (side + _SEAM), 12),
                FAINT,
                font=font(12),
            )
    y = head
    for line in lines:
        for column, each in enumerate(line):
            sheet.paste(each, (_GAP + column * (strip_width + 3 * _GAP), y))
        y += max(each.height for each in line) + _GAP
    sheet.paste(foot, (_GAP, y))
    return sheet


def strip_of(
    store: LabelStore, read: Callable[[str], Picture], rows: Sequence[int], *, rank: int = 1, side: int = 40
) -> Image.Image | None:
    """Pictures in one line for a terminal, each beside its classes; None if no picture can be read."""
    labels = store.read(rows)
    colours = colours_of([shares(labels[n]) for n in range(len(rows))])
    found: list[Image.Image] = []
    for n, row in enumerate(rows):
        try:
            found += panels_of(partial(picture_of, store, row, labels[n], read), labels[n], colours[n], side, rank - 1)[
                :2
            ]
        except PictureError:
            continue
    return line_of(found) if found else None


def line_of(panels: Sequence[Image.Image]) -> Image.Image:
    """Panels in one line, with a narrow black gap between them."""
    line = Image.new("RGB", (sum(panel.width + 2 for panel in panels) - 2, max(panel.height for panel in panels)))
    x = 0
    for panel in panels:
        line.paste(panel, (x, 0))
        x += panel.width + 2
    return line


def _ordinal(rank: int) -> str:
    return {1: "best", 2: "second", 3: "third"}.get(rank, f"{rank}th")


def panels_of(
    pixels: Callable[[], Image.Image], label: LabelMap, colours: dict[int, Colour], side: int, rank: int
) -> tuple[Image.Image, ...]:
    """The picture; the picture under its classes; their probability."""
    picture = fit(pixels(), side)
    return picture, overlay(picture, label, colours, rank), heat(picture.size, label, label.scores[..., rank])
