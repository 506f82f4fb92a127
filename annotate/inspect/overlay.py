"""Which picture belongs to a label, and how is the label drawn on it? As opaque at each location as it is probable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from annotate.class_names import Names
from annotate.errors import PictureError
from annotate.images.decode import decode
from annotate.images.source import Picture
from annotate.inspect.palette import FAINT, INK, OTHER, Colour, fitted, font, viridis
from storage import Box, LabelMap, LabelStore, Status
from storage.labelmap import no_class

OPACITY = 0.75  # of a location that is certain; others are as much fainter as they are less probable
_KEPT = 0.3  # of the picture's own colours, below the classes
_NOWHERE = (228, 228, 231)
_LINE = 18


def picture_of(store: LabelStore, row: int, label: LabelMap, read: Callable[[str], Picture]) -> Image.Image:
    """The picture that a label describes.

    Args:
        store: the store that holds the label.
        row: the label's row in it.
        label: the label of this one picture.
        read: returns a picture by its key.

    Raises:
        PictureError: it cannot be read, or its size differs from that of the picture that was labelled.
    """
    recipe = store.schema.recipe
    pixels = decode(read(store.keys[row]), exif=recipe.get("exif", "ignore"), white=recipe.get("white"))
    picture = Image.fromarray(pixels)
    if label.sizes.all() and (picture.height, picture.width) != tuple(label.sizes.tolist()):
        raise PictureError(Status.REFUSED, "not the picture that was labelled: it has another size")
    return picture


def fit(picture: Image.Image, side: int) -> Image.Image:
    """The picture, its longer side of so many pixels."""
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC)


def overlay(picture: Image.Image, label: LabelMap, colours: Mapping[int, Colour], rank: int = 0) -> Image.Image:
    """The picture, nearly in grey, under one class of each location.

    Args:
        picture: the picture, of any size.
        label: its label.
        colours: of classes; others are painted in `OTHER`.
        rank: 0 for the best class of each location, 1 for the second, and so on.
    """
    found = Image.blend(picture.convert("L").convert("RGB"), picture, _KEPT)
    classes, scores = label.classes[..., rank], label.scores[..., rank]
    paint = np.full((*label.grid, 3), OTHER, np.uint8)
    for number, colour in colours.items():
        paint[classes == number] = colour
    opacity = np.where(classes != no_class(classes.dtype), OPACITY * scores, 0)
    _lay(found, label.box, paint, np.rint(opacity * 255).astype(np.uint8))
    return found


def heat(size: tuple[int, int], label: LabelMap, values: NDArray[np.float32]) -> Image.Image:
    """Values [h, w] in [0, 1] of a label's locations, from dark to light, in a picture of this size; NaN is grey."""
    found = Image.new("RGB", size, _NOWHERE)
    _lay(found, label.box, viridis(np.nan_to_num(values)), np.where(np.isnan(values), 0, 255).astype(np.uint8))
    return found


def class_list(
    largest: Sequence[tuple[int, Sequence[float]]], colours: Mapping[int, Colour], names: Names, *, width: int
) -> Image.Image:
    """Short names of a picture's classes beside their colours, each with its fractions of the probability.

    Args:
        largest: classes, each with one fraction or more; what they leave out is the last line.
        colours: of these classes.
        names: of all classes.
        width: of the picture that is made, pixels.
    """
    columns = max((len(parts) for _, parts in largest), default=1)
    rest = [max(0.0, 1 - sum(parts[n] for _, parts in largest)) for n in range(columns)]
    entries = [(names.short(number), colours.get(number, OTHER), parts) for number, parts in largest]
    entries.append(("all others", OTHER, rest))
    found = Image.new("RGB", (width, _LINE * len(entries)), "white")
    draw, face, step = ImageDraw.Draw(found), font(12), 40
    for n, (name, colour, parts) in enumerate(entries):
        y = n * _LINE
        draw.rounded_rectangle((0, y + 3, 11, y + 14), 3, fill=colour)
        ink = FAINT if n == len(entries) - 1 else INK
        draw.text((18, y), fitted(name, width - 22 - step * columns, 12), ink, font=face)
        for column, part in enumerate(parts):
            draw.text((width - step * (columns - 1 - column), y), percent(part), ink, font=face, anchor="ra")
    return found


def percent(part: float) -> str:
    """A fraction in per cent, without decimals."""
    return f"{100 * part:.0f} %" if part >= 0.01 or part == 0 else "< 1 %"


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
