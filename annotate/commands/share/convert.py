"""How do labels reach another backend, or another tool's .pt files, and back? `annotate convert`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotate.commands.answers import answer, exit_as, json_option
from annotate.commands.options.store import address
from annotate.commands.progress import progress_display

if TYPE_CHECKING:
    from annotate.commands.answers import WorkAnswer


@click.command()
@address("source")
@address("target")
@click.option(
    "--from",
    "layout",
    type=click.Choice(["tokenlabeling", "relabel"]),
    help="Import SOURCE, a tree of .pt files that this tool wrote. Needs --images and --geometry.",
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the pictures that the tree labels.")
@click.option(
    "--geometry",
    type=click.Choice(["squash", "center"]),
    help="Part of each picture that was labelled: all of it (squash), or its centre square (center).",
)
@click.option("--classes", type=click.IntRange(min=1), default=1000, help="Number of classes of the tree's labels.")
@click.option("--to", "tree", type=click.Choice(["tokenlabeling"]), help="Export to TARGET, a tree of .pt files.")
@json_option
def convert(
    source: str,
    target: str,
    layout: Any,
    images: Path | None,
    geometry: Any,
    classes: int,
    tree: str | None,
    as_json: bool,
) -> None:
    """Copy the labels of SOURCE to TARGET; run it again to resume.

    Between stores (a folder, labels.h5/, s3://bucket/labels.zarr) every value is copied bit for bit. With --from,
    SOURCE is a tree of another tool's .pt files, whose logits are stored bit for bit; with --to, TARGET becomes such a
    tree, for trainers that read nothing else.
    """
    from storage import copy, open_store

    if layout and tree:
        raise click.UsageError("give --from or --to, not both; to do both, convert to a store first")
    if layout and (images is None or geometry is None):
        raise click.UsageError("--from needs --images and --geometry: the tree's files record neither")
    summary: WorkAnswer
    with progress_display("converting") as display:
        if layout and images:
            from annotate.exchange import import_tree
            from annotate.images import FolderImages

            summary = import_tree(
                Path(source),
                FolderImages(images),
                target,
                layout=layout,
                geometry=geometry,
                class_count=classes,
                on_progress=display.show,
            )
        elif tree:
            from annotate.exchange import export_tree

            summary = export_tree(open_store(source), Path(target), on_progress=display.show)
        else:
            summary = copy(open_store(source), target, on_progress=display.show)
    answer(summary, as_json)
    exit_as(summary)
