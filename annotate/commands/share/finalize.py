"""How is a store made ready for others? `annotate finalize`"""

from __future__ import annotations

import click

from annotate.commands.options.publication import publication_of, publication_options
from annotate.commands.options.store import address


@click.command()
@address("store")
@publication_options
def finalize(store: str, name: str | None, source: str, licence: str, url: str | None) -> None:
    """Prepare a finished STORE for publication.

    This consolidates its metadata, and writes a dataset card, a Croissant description, and a manifest with the SHA-256
    of every object, which `sha256sum -c` and `annotate verify` check.
    """
    from storage import finalize as publish
    from storage import open_store

    count = publish(open_store(store, writable=True), publication_of(store, name, source, licence, url))
    click.echo(f"{store} is ready to be published; its manifest lists {count:,} objects")
