"""Which pictures show a class? `annotate query`"""

from __future__ import annotations

import json
from pathlib import Path

import click

from annotate.commands.answers import json_option
from annotate.commands.options.store import address, names_option, open_partial


@click.command()
@address("store")
@click.option("--class", "class_name", required=True, metavar="NAME", help="Name or number of the class.")
@click.option(
    "--min-area",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="List only pictures where it covers at least this fraction.",
)
@names_option
@json_option
def query(store: str, class_name: str, min_area: float, names: Path | None, as_json: bool) -> None:
    """List the keys of the pictures in which a class is best at some location.

    The largest area comes first. An area is the fraction of a picture's locations where the class is best.
    """
    import numpy as np

    from annotate.inspect import Names, areas
    from annotate.text import printable

    opened = open_partial(store)
    area = areas(opened, Names.of(opened, names).number(class_name))
    rows = np.flatnonzero((area > 0) & (area >= min_area))
    found = [(opened.keys[row], float(area[row])) for row in rows[np.argsort(-area[rows], kind="stable")].tolist()]
    if as_json:
        click.echo(json.dumps([{"key": key, "area": round(part, 4)} for key, part in found]))
        return
    for key, part in found:
        click.echo(f"{part:.3f}\t{printable(key)}")
