"""How is a comparison shown? The pictures that differ most with both labels, and a page for a browser."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from PIL import Image

from annotate.class_names import Names
from annotate.images.source import Picture
from annotate.inspect.comparison import Comparison, names_of
from annotate.inspect.overlay import class_list, fit, overlay, picture_of
from annotate.inspect.palette import Colour, colours_of, largest, shares
from annotate.inspect.sheet import page, strip
from annotate.model.recipe import annotator_of
from annotate.text import printable
from storage import LabelMap, LabelStore

_SIDE, _NAMES = 176, 250  # of a panel, and of the names beside it, pixels


def comparison_sheet(
    first: LabelStore,
    second: LabelStore,
    read: Callable[[str], Picture],
    keys: list[str],
    *,
    names: Names | None = None,
) -> Image.Image:
    """Each picture under the classes of both stores, beside its largest classes with their probability in both.

    A class has one colour on a picture, whichever store names it.

    Args:
        first: one store.
        second: the other, of the same classes.
        read: returns a labelled picture by its key; see `annotate.images.by_key`.
        keys: the pictures' keys, in both stores.
        names: names of the classes; default: those of the first store, or of the second if it has none.
    """
    names = names or names_of(first, second)
    stores = (first, second)
    rows = [[store.find(key) for key in keys] for store in stores]
    labels = [store.read(of_store) for store, of_store in zip(stores, rows, strict=True)]
    masses = [[shares(each[n]) for n in range(len(keys))] for each in labels]
    both = [
        {number: (one.get(number, 0.0) + other.get(number, 0.0)) / 2 for number in one | other}
        for one, other in zip(*masses, strict=True)
    ]
    strips = []
    for n, (key, colours) in enumerate(zip(keys, colours_of(both), strict=True)):
        parts = [(number, [each[n].get(number, 0.0) for each in masses]) for number in largest(both[n])]
        panels = partial(_panels, partial(picture_of, first, rows[0][n], labels[0][n], read), [
            each[n] for each in labels], colours)  # fmt: skip
        strips.append(strip(key, panels, class_list(parts, colours, names, width=_NAMES), side=_SIDE))
    models = [annotator_of(store.schema.recipe) for store in stores]
    title = f"{models[0]} (1) and {models[1]} (2), the {len(keys)} pictures that differ most"
    return page(
        title,
        ("picture", "best class (1)", "best class (2)"),
        strips,
        side=_SIDE,
        last="largest classes, mean probability (1), (2)",
        scale=False,
    )


def _panels(
    pixels: Callable[[], Image.Image], labels: Sequence[LabelMap], colours: Mapping[int, Colour]
) -> list[Image.Image]:
    picture = fit(pixels(), _SIDE)
    return [picture, *(overlay(picture, label, colours) for label in labels)]


def comparison_page(found: Comparison, sheet: Image.Image, first: str, second: str) -> str:
    """The figures and the pictures as the text of one HTML file without scripts.

    Args:
        found: the figures.
        sheet: the pictures, of `comparison_sheet`.
        first: name of the first store, for the title.
        second: name of the second store.
    """
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    png = base64.b64encode(file.getvalue()).decode()
    text = html.escape(found.describe())
    title = html.escape(f"{printable(first)} compared with {printable(second)}")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>:root{{color-scheme:light dark}}body{{font:15px/1.5 system-ui,sans-serif;"
        "max-width:1180px;margin:20px auto;padding:0 18px}h1{font-size:19px;overflow-wrap:anywhere}"
        "pre{font-size:13px;overflow-x:auto}div{overflow-x:auto}img{width:100%;min-width:900px;background:#fff}"
        f"</style><h1>{title}</h1>"
        "<p>The pictures that differ most, each under the best classes of the first store (1) and of the second (2). "
        "Beside it are its largest classes, with their mean probability in both.</p>"
        f'<div><img alt="Pictures with the labels of both stores" src="data:image/png;base64,{png}"></div>'
        f"<pre>{text}</pre></html>"
    )
