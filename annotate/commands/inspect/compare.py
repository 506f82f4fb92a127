"""Where do two stores of the same pictures differ? `annotate compare`"""

from __future__ import annotations

from pathlib import Path

import click

from annotate.commands.answers import answer, json_option, writing
from annotate.commands.options.store import address, names_option, open_partial
from annotate.commands.progress import following


@click.command()
@address("first")
@address("second")
@click.option("--images", help="Collection of the labelled pictures; needed for -o and --html.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the pictures that differ most to a PNG file."
)
@click.option("--html", type=click.Path(path_type=Path), help="Write the figures and these pictures to an HTML file.")
@click.option("--count", type=click.IntRange(1, 200), default=8, help="Number of pictures to show.")
@names_option
@json_option
def compare(
    first: str,
    second: str,
    images: str | None,
    output: Path | None,
    html: Path | None,
    count: int,
    names: Path | None,
    as_json: bool,
) -> None:
    """Compare the labels of two stores of the same pictures, FIRST and SECOND."""
    from annotate.images import by_key
    from annotate.inspect import Names, comparison_page, comparison_sheet, names_of
    from annotate.inspect import compare as measure

    if (output or html) and images is None:
        raise click.UsageError("a sheet or a report needs --images, the pictures that were labelled")
    mine, theirs = open_partial(first), open_partial(second)
    called = Names.of(mine, names) if names is not None else names_of(mine, theirs)
    with following("comparing", len(mine)) as on_progress:
        found = measure(mine, theirs, names=called, most=max(count, 20), on_progress=on_progress)
    if output or html:
        keys = [key for key, *_ in found.most[:count]]
        sheet = comparison_sheet(mine, theirs, by_key(str(images)), keys, names=called)
        if output is not None:
            with writing(output):
                sheet.save(output, format="PNG")
        if html is not None:
            page = comparison_page(found, sheet, first, second)
            with writing(html):
                html.write_text(page, encoding="utf-8")
    answer(found, as_json)
    for path in (output, html):
        if path is not None and not as_json:
            click.echo(f"wrote {path}")
