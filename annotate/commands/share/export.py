"""How do labels become masks for other tools? `annotate export`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from annotate.commands.answers import json_option
from annotate.commands.options.store import address, names_option, open_partial
from annotate.commands.progress import following


@click.command()
@address("store")
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--to", "layout", type=click.Choice(["png", "coco", "fiftyone"]), required=True, help="Format of the masks."
)
@names_option
@json_option
def export(store: str, target: Path, layout: Any, names: Path | None, as_json: bool) -> None:
    """Write the best class at each location of STORE as masks into the folder TARGET, for other tools."""
    from annotate.exchange import export_masks
    from annotate.inspect import Names

    opened = open_partial(store)
    with following("exporting", len(opened)) as on_progress:
        count = export_masks(opened, target, layout, names=Names.of(opened, names), on_progress=on_progress)
    written = {"target": str(target), "pictures": count}
    click.echo(json.dumps(written) if as_json else f"wrote the masks of {count:,} pictures to {target}")
