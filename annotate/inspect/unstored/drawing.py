"""How are labels drawn that are in no store? Those of a few pictures, and those of mosaics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from annotate.class_names import Names
from annotate.inspect.overlay import class_list, fit, heat, overlay
from annotate.inspect.palette import Colour, colours_of, largest, shares
from annotate.inspect.sheet import NAMES, line_of, page, panels_of, strip
from annotate.locality.measure import Example
from storage import LabelMap


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A picture and its label.

    key:     what the picture is called
    picture: uint8 [H, W, 3]
    label:   its label
    """

    key: str
    picture: NDArray[np.uint8]
    label: LabelMap


def labels_sheet(labelled: Sequence[Labelled], names: Names, title: str, *, side: int = 176) -> Image.Image:
    """For each picture: itself, the best class of each location, its probability, and the largest classes.

    Args:
        labelled: the pictures, one or more.
        names: of the classes.
        title: the first line.
        side: longer side of a panel, pixels.
    """
    strips = []
    for each, (colours, listed) in zip(labelled, _coloured([one.label for one in labelled], names), strict=True):
        panels = panels_of(partial(Image.fromarray, each.picture), each.label, colours, side, 0)
        strips.append(strip(each.key, partial(tuple, panels), listed, side=side))
    return page(title, ("picture", "best class (opaque: probable)", "its probability"), strips, side=side)


def labels_strip(labelled: Sequence[Labelled], *, side: int = 40) -> Image.Image:
    """Pictures in one line for a terminal, each beside its classes."""
    colours = colours_of([shares(each.label) for each in labelled])
    found: list[Image.Image] = []
    for each, of_picture in zip(labelled, colours, strict=True):
        found += panels_of(partial(Image.fromarray, each.picture), each.label, of_picture, side, 0)[:2]
    return line_of(found)


def mosaics_sheet(examples: Sequence[Example], names: Names, title: str, *, side: int = 264) -> Image.Image:
    """For each mosaic: itself, its classes, and at each location the share of the location's own tile.

    Args:
        examples: the mosaics, one or more.
        names: of the classes.
        title: the first line.
        side: longer side of a panel, pixels.
    """
    strips = []
    for each, (colours, listed) in zip(examples, _coloured([one.label for one in examples], names), strict=True):
        picture = fit(Image.fromarray(each.picture), side)
        own = heat(picture.size, each.label, each.own.astype(np.float32))
        panels = (picture, overlay(picture, each.label, colours), own)
        strips.append(strip(", ".join(each.keys), partial(tuple, panels), listed, side=side))
    heads = ("mosaic of four pictures", "best class (opaque: probable)", "share of its own tile's classes")
    return page(title, heads, strips, side=side)


def _coloured(labels: Sequence[LabelMap], names: Names) -> list[tuple[dict[int, Colour], Image.Image]]:
    """For each label the colours of its classes, and the list of them."""
    masses = [shares(label) for label in labels]
    return [
        (colours, class_list([(c, [part]) for c, part in largest(mass).items()], colours, names, width=NAMES))
        for mass, colours in zip(masses, colours_of(masses), strict=True)
    ]
