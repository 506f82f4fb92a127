"""How is a published store copied to a folder? `annotate pull`"""

from __future__ import annotations

from pathlib import Path

import click

from annotate.commands.answers import answer, json_option
from annotate.commands.options.store import address
from annotate.commands.progress import progress_display


@click.command()
@address("source")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def pull(source: str, folder: Path, as_json: bool) -> None:
    """Copy the published store at SOURCE to FOLDER, each object checked; run it again to resume.

    SOURCE is hf://datasets/OWNER/NAME or https://host/folder. `open_store` and all commands that only read also take
    such an address itself, and fetch what they read.
    """
    from storage import pull as fetch

    with progress_display("fetching") as display:
        pulled = fetch(source, folder, on_progress=display.show)
    answer(pulled, as_json)
