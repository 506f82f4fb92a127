"""What are the classes of a store called, and how do they get other names? `annotate names`"""

from __future__ import annotations

import json
from pathlib import Path

import click

from annotate.commands.answers import json_option
from annotate.commands.options.store import address


@click.command()
@address("store")
@click.argument("names", type=click.Path(path_type=Path), required=False)
@click.option("--remove", is_flag=True, help="Remove the names: classes are then called by their numbers.")
@json_option
def names(store: str, names: Path | None, remove: bool, as_json: bool) -> None:
    """Give the classes of STORE other NAMES, or list those that it has.

    NAMES is a text file with one name a line, in the order of the classes, or imagenet-1k, imagenet-12k or
    imagenet-21k. Labels stay as they are. Without NAMES, the names are printed, in the form of such a file.
    """
    from annotate.class_names import Names, read_names
    from annotate.text import printable
    from storage import name_classes, open_store

    if names is not None and remove:
        raise click.UsageError("give NAMES or --remove, not both")
    changes = names is not None or remove
    opened = open_store(store, writable=changes)
    count = opened.schema.class_count
    if changes:
        name_classes(opened, None if names is None else read_names(names, count))
    known = opened.schema.class_names
    if as_json:
        click.echo(json.dumps({"store": store, "class_count": count, "class_names": known}))
    elif changes:
        click.echo(
            f"the {count:,} classes of {store} have names now" if known else f"the classes of {store} have no names now"
        )
    elif known is None:
        raise click.ClickException(
            f"the classes of {store} have no names; `annotate names {store} FILE` gives them, from a file with one on "
            f"each of {count:,} lines"
        )
    else:
        click.echo("\n".join(map(printable, Names.of(opened))))
