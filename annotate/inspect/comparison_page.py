"""How is a comparison shown? The pictures that differ most with both labels, and a page for a browser."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable

from PIL import Image

from annotate.class_names import Names
from annotate.images.source import Picture
from annotate.inspect.comparison import Comparison
from annotate.inspect.sheet import contact_sheet
from annotate.text import printable
from storage import LabelStore


def comparison_sheet(
    first: LabelStore,
    second: LabelStore,
    read: Callable[[str], Picture],
    keys: list[str],
    *,
    names: Names | None = None,
) -> Image.Image:
    """The same pictures with the labels of both stores: two contact sheets, the first store's above.

    Args:
        first: one store.
        second: the other, of the same classes.
        read: returns a labelled picture by its key; see `annotate.images.by_key`.
        keys: the pictures' keys, in both stores.
        names: names of the classes; default: those of each store.
    """
    sheets = [contact_sheet(store, read, [store.find(key) for key in keys], names=names) for store in (first, second)]
    both = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), "white")
    y = 0
    for sheet in sheets:
        both.paste(sheet, (0, y))
        y += sheet.height
    return both


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
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>:root{{color-scheme:light dark}}body{{font:15px/1.5 system-ui,sans-serif;"
        "max-width:1100px;margin:24px auto;padding:0 18px}pre{overflow-x:auto}img{max-width:100%;background:#fff}"
        f"</style><h1>{title}</h1><pre>{text}</pre>"
        "<p>The pictures that differ most: above with the first store's labels, below with the second's.</p>"
        f'<img alt="Pictures with the labels of both stores" src="data:image/png;base64,{png}"></html>'
    )
