"""What should people know of a store before they use it? `annotate card`"""

from __future__ import annotations

from pathlib import Path

import click

from annotate.commands.answers import writing
from annotate.commands.options.publication import publication_of, publication_options
from annotate.commands.options.store import address


@click.command()
@address("store")
@publication_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the card to this file instead of printing it."
)
def card(store: str, name: str | None, source: str, licence: str, url: str | None, output: Path | None) -> None:
    """Print a dataset card of STORE in Markdown: its source, its licence, and how it was made."""
    from storage import open_store
    from storage.operations.publication import card as describe

    text = describe(open_store(store), publication_of(store, name, source, licence, url))
    if output is None:
        click.echo(text, nl=False)
        return
    with writing(output):
        output.write_text(text, encoding="utf-8")
    click.echo(f"wrote {output}")
