"""What is in a store, in figures and in pictures? `annotate inspect`"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotate.commands.answers import json_option, writing
from annotate.commands.options.store import address, names_option
from annotate.commands.progress import following

if TYPE_CHECKING:
    from annotate.inspect import Survey


@click.command()
@address("store")
@click.option("--images", help="Collection of the labelled pictures; needed to show them.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write a contact sheet to a PNG file.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a report for a browser to an HTML file.")
@click.option(
    "--count", type=click.IntRange(1, 5000), help="Number of pictures to show. Default: 12 on a sheet, 500 in a report."
)
@click.option("--key", "keys", multiple=True, help="Show the picture with this key. May be repeated.")
@click.option(
    "--class", "class_name", metavar="NAME", help="Show only pictures in which this class is the best at some location."
)
@click.option(
    "--sort",
    "order",
    type=click.Choice(["random", "entropy", "confidence", "disagreement"]),
    default="random",
    help="Order: at random, or first the least certain (entropy), the most certain (confidence), or those whose label "
    "contradicts their own class (disagreement).",
)
@click.option(
    "--rank", type=click.IntRange(min=1), default=1, help="Rank of the classes on a sheet: 2 shows the second best."
)
@click.option("--seed", type=int, default=0, help="Random seed of the choice of pictures.")
@names_option
@json_option
def inspect(
    store: str,
    images: str | None,
    output: Path | None,
    html: Path | None,
    count: int | None,
    keys: tuple[str, ...],
    class_name: str | None,
    order: Any,
    rank: int,
    seed: int,
    names: Path | None,
    as_json: bool,
) -> None:
    """Describe what is in STORE: as text, as a sheet of pictures (-o), or as a report for a browser (--html).

    With --images, a few pictures are also shown in the terminal. docs/inspect.md explains every figure.
    """
    from annotate.images import by_key
    from annotate.inspect import (
        Names,
        can_show,
        choose_rows,
        contact_sheet,
        describe,
        half_blocks,
        refuse_strangers,
        report_page,
        statistics,
        strip_of,
        survey,
    )
    from storage import open_store

    if not (output or html or images) and (keys or class_name or count or rank > 1 or order != "random"):
        raise click.UsageError(
            "--key, --class, --sort, --count and --rank choose pictures to show: give --images with -o, --html, or "
            "--images alone to show them in the terminal"
        )
    if output is not None and images is None:
        raise click.UsageError("a contact sheet needs --images, the pictures that were labelled")
    opened = open_store(store)
    called = Names.of(opened, names)
    read = by_key(images) if images is not None else None
    number = None if class_name is None else called.number(class_name)

    @cache
    def surveyed() -> Survey:
        with following("reading", len(opened)) as on_progress:
            return survey(opened, names=called, on_progress=on_progress)

    def chosen(most: int) -> list[int]:
        found = None if order == "random" else surveyed()
        rows = choose_rows(opened, count or most, seed=seed, order=order, keys=keys, number=number, found=found)
        if not rows:
            raise click.ClickException(f"the store {store} has no labelled picture to show")
        if read is not None:
            refuse_strangers(opened, rows, read)
        return rows

    written: dict[str, Any] = {}
    lines = []
    if output is not None and read is not None:
        rows = chosen(12)
        sheet = contact_sheet(opened, read, rows, names=called, rank=rank)
        with writing(output):
            sheet.save(output, format="PNG")
        written |= {"sheet": str(output), "rows": rows}
        lines.append(f"wrote {output}: {len(rows)} pictures")
    if html is not None:
        rows = chosen(500)
        found = surveyed()
        with following("writing the report", len(rows), "pictures") as on_progress:
            text = report_page(opened, found, rows, read, names=called, on_progress=on_progress)
        with writing(html):
            html.write_text(text, encoding="utf-8")
        written |= {"report": str(html), "report_rows": rows, "rows": written.get("rows", rows)}
        lines.append(f"wrote {html}: {len(rows)} pictures")
    if written:
        click.echo(json.dumps(written) if as_json else "\n".join(lines))
        return
    figures = statistics(opened, surveyed(), called)
    click.echo(json.dumps(figures.to_json()) if as_json else describe(opened, figures))
    if read is not None and not as_json and can_show() and figures.labelled:
        strip = strip_of(opened, read, chosen(3)[:3], rank=min(rank, opened.schema.k))
        if strip is not None:
            click.echo(half_blocks(strip))
