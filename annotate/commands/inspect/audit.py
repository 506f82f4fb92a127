"""Which pictures may have the wrong class? `annotate audit`"""

from __future__ import annotations

from pathlib import Path

import click

from annotate.commands.answers import answer, json_option
from annotate.commands.options.store import address, names_option, open_partial
from annotate.commands.progress import following


@click.command()
@address("store")
@click.option("--part", type=click.FloatRange(0, 1), default=0.04, help="Fraction of the pictures to list.")
@names_option
@json_option
def audit(store: str, part: float, names: Path | None, as_json: bool) -> None:
    """List the pictures whose own class is probably wrong, judged by their labels.

    It also lists the classes that the labels are least certain of, and those that are never the best class.
    """
    from annotate.inspect import Names, survey
    from annotate.inspect import audit as judge

    opened = open_partial(store)
    called = Names.of(opened, names)
    with following("reading", len(opened)) as on_progress:
        surveyed = survey(opened, names=called, on_progress=on_progress)
    answer(judge(opened, surveyed, called, fraction=part), as_json)
