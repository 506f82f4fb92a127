"""How is a store published on the Hub? `annotate push`"""

from __future__ import annotations

import click

from annotate.commands.answers import answer, json_option
from annotate.commands.options.store import address
from annotate.commands.progress import following


@click.command()
@address("store")
@address("target")
@click.option("--private", is_flag=True, help="Make the dataset private, if it is new.")
@json_option
def push(store: str, target: str, private: bool, as_json: bool) -> None:
    """Publish the finalized STORE at TARGET, a dataset on the Hub; run it again to resume.

    TARGET is hf://datasets/OWNER/NAME, or hf://datasets/OWNER/NAME@BRANCH/FOLDER. STORE is verified
    first. Its manifest is uploaded last, so that nobody reads a part of it.
    """
    from storage import open_store
    from storage import push as publish

    opened = open_store(store)
    with following("uploading", sum(1 for _ in opened.backend.object_names()), "objects") as on_progress:
        pushed = publish(opened, target, private=private, on_progress=on_progress)
    answer(pushed, as_json)
