"""How do some pictures of a store become a store? `annotate select`"""

from __future__ import annotations

from pathlib import Path

import click

from annotate.commands.answers import answer, exit_as, json_option
from annotate.commands.options.store import address
from annotate.commands.progress import progress_display


@click.command()
@address("store")
@address("target")
@click.option(
    "--keys",
    "listed",
    type=click.Path(path_type=Path),
    required=True,
    help="Text file of the pictures' keys, one on each line, in the order of TARGET.",
)
@json_option
def select(store: str, target: str, listed: Path, as_json: bool) -> None:
    """Copy the labels of some pictures of STORE into the new store TARGET, bit for bit; run it again to resume."""
    from storage import open_store
    from storage import select as choose

    try:
        keys = [line for line in listed.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError) as error:
        raise click.UsageError(f"cannot read the keys in {listed}: {error}") from error
    with progress_display("selecting") as display:
        summary = choose(open_store(store), keys, target, on_progress=display.show)
    answer(summary, as_json)
    exit_as(summary)
