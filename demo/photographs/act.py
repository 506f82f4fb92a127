"""What does the first part of the demo show? Photographs, three ImageNet networks, their labels, and three figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from demo.photographs import networks
from demo.photographs.collection import PICTURES, photographs
from demo.photographs.measures import Measured, by_chance, measure
from demo.photographs.poster import poster
from storage import open_store

INPUT_SIZE = 448  # pixels: 14 x 14 locations
ENSEMBLE = "ensemble of lite0, lite1 and lite2, with mirror"


def play(annotate: Callable[..., None], out: Path) -> dict[str, Any]:
    """Label the photographs with two networks and with an ensemble; print and return the figures.

    Args:
        annotate: runs the command `annotate` with these arguments.
        out: an empty folder for all that is made.
    """
    started = time.monotonic()
    known = photographs()
    weights = {size: networks.convert(size, out) for size in networks.SIZES}
    print(f"weights of {', '.join(map(networks.model, weights))}, converted to timm's names")
    stores = {"lite0": (0,), "lite2": (2,), ENSEMBLE: networks.SIZES}
    measured: dict[str, Measured] = {}
    for name, sizes in stores.items():
        store = out / f"{name.partition(' ')[0]}.zarr"
        of = [word for size in sizes for word in ("--model", networks.model(size), "--checkpoint", weights[size])]
        more = ["--flip", "--local"] if len(sizes) > 1 else []  # Ray would start for longer than it saves
        annotate("run", PICTURES, store, *of, "--input-size", INPUT_SIZE, *more)
        measured[name] = measure(open_store(store), known)
    annotate("inspect", store, "--images", PICTURES, "-o", out / "sheet.png")
    annotate("inspect", store, "--images", PICTURES, "--html", out / "report.html")
    poster(open_store(store), known).save(out / "photographs.png", optimize=True)
    print("\n".join(["", *_lines(measured, by_chance(known))]))
    print(f"\nthe photographs and their labels: {out / 'photographs.png'}; in a browser: {out / 'report.html'}")
    print(f"{time.monotonic() - started:.0f} s")
    return {name: asdict(each) for name, each in measured.items()}


def _lines(measured: dict[str, Measured], chance: Measured) -> list[str]:
    """A table of text: one row for each store, and what a random location would give."""
    head = ("", "named", "pointing game", "probability in the box")
    rows = [(name, each, f"{each.named} of {each.count}") for name, each in measured.items()]
    rows.append(("a random location", chance, "0"))
    cells = [
        head,
        *((name, named, f"{each.pointed} of {each.count}", f"{each.mass:.0%}") for name, each, named in rows),
    ]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
