"""How do parts of a collection, labelled apart, become one store? `annotate merge`"""

from __future__ import annotations

import click

from annotate.commands.answers import answer, exit_as, json_option
from annotate.commands.options.store import address
from annotate.commands.progress import progress_display


@click.command()
@address("parts", nargs=-1)
@address("target")
@json_option
def merge(parts: tuple[str, ...], target: str, as_json: bool) -> None:
    """Merge PARTS, stores of one collection that were labelled apart, into TARGET; run it again to resume.

    Every value is copied bit for bit. Parts that were labelled with other settings are refused, and each difference is
    named. A picture that several parts have gets its row once; two labels of it that differ are refused.
    """
    from storage import merge as join
    from storage import open_store

    if len(parts) < 2:
        raise click.UsageError("give two or more stores, and then the address of the new one")
    with progress_display("merging") as display:
        summary = join([open_store(part) for part in parts], target, on_progress=display.show)
    answer(summary, as_json)
    exit_as(summary)
