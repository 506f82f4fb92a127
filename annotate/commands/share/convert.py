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


def _grid(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """The (rows, columns) of "9x9"."""
    if text is None:
        return None
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is not a grid; give rows and columns, such as 9x9", ctx, parameter)
    return int(parts[0]), int(parts[1])


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
@click.option(
    "--k", type=click.IntRange(min=1), help="Light copy: keep the N best classes of each location.", metavar="N"
)
@click.option(
    "--coarse",
    type=click.IntRange(min=1, max=64),
    default=1,
    metavar="M",
    help="Light copy: round codes of probabilities to multiples of M.",
)
@click.option("--grid", callback=_grid, metavar="HxW", help="Light copy: average the labels to a grid of H x W.")
@json_option
def convert(
    source: str,
    target: str,
    layout: Any,
    images: Path | None,
    geometry: Any,
    classes: int,
    tree: str | None,
    k: int | None,
    coarse: int,
    grid: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Copy the labels of SOURCE to TARGET; run it again to resume.

    Between stores (a folder, labels.h5/, s3://bucket/labels.zarr) every value is copied bit for bit. With --from,
    SOURCE is a tree of another tool's .pt files, whose logits are stored bit for bit; with --to, TARGET becomes such a
    tree, for trainers that read nothing else. With --k, --coarse or --grid, TARGET is a light copy, in the same format:
    docs/sharing.md says what that saves and costs.
    """
    from storage import Lightness, copy, lighten, open_store

    light = (k, coarse, grid) != (None, 1, None)
    if light and (layout or tree):
        raise click.UsageError("--k, --coarse and --grid make a store of a store: give them without --from and --to")
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
        elif light:
            kept = Lightness(k=k, coarse=coarse, grid=grid)
            summary = lighten(open_store(source), target, kept, on_progress=display.show)
        else:
            summary = copy(open_store(source), target, on_progress=display.show)
    answer(summary, as_json)
    exit_as(summary)
