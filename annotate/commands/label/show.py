"""What does an annotator see on a picture? `annotate show`"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from annotate.commands.answers import DONE, UNFINISHED, json_option, writing
from annotate.commands.options.labelling import temperature_option, top_k_option
from annotate.commands.options.recipe import recipe_of, recipe_options
from annotate.commands.options.store import complete_paths
from annotate.commands.progress import counting

if TYPE_CHECKING:
    from annotate.class_names import Names
    from annotate.errors import PictureError
    from annotate.inspect import Labelled
    from annotate.model.annotator import Annotator

_LISTED = 5  # classes of a picture that are named
_IN_THE_TERMINAL = 3  # pictures


@click.command()
@click.argument("images", nargs=-1, required=True, shell_complete=complete_paths)
@recipe_options
@temperature_option
@top_k_option("Keep")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the pictures and labels to a PNG file.")
@click.option(
    "--count", type=click.IntRange(1, 500), default=12, help="Number of pictures of a collection, its first ones."
)
@click.option("--names", type=click.Path(path_type=Path), help="Text file of class names, one a line; or imagenet-1k.")
@json_option
def show(
    images: tuple[str, ...],
    k: int | None,
    output: Path | None,
    count: int,
    names: Path | None,
    batch_size: int | None,
    as_json: bool,
    precision: Literal["auto", "float32", "bfloat16"],
    **settings: Any,
) -> None:
    """Label a few pictures and show their labels; nothing is stored.

    IMAGES are picture files, and collections, of which the first pictures are shown: in the terminal, and with -o as a
    sheet. `annotate run` labels a whole collection into a store.
    """
    from annotate.class_names import Names, read_names
    from annotate.images.first_pictures import first_pictures
    from annotate.inspect import can_show, half_blocks, labels_sheet, labels_strip
    from annotate.jobs.execution import resolve_precision

    chosen = [*first_pictures(images, count)]
    recipe = recipe_of(**settings, precision=resolve_precision(precision))
    annotator = _annotator(recipe, k)
    known = recipe.class_names() if names is None else read_names(names, annotator.class_count)
    called = Names(annotator.class_count, known)
    labelled, failed = _labelled(annotator, chosen)
    if output is not None and labelled:
        sheet = labels_sheet(labelled, called, f"{_title(annotator)}, {len(labelled)} pictures")
        with writing(output):
            sheet.save(output, format="PNG")
    if as_json:
        click.echo(json.dumps(_as_json(annotator, labelled, failed, called, output if labelled else None)))
    else:
        if labelled and can_show():
            click.echo(half_blocks(labels_strip(labelled[:_IN_THE_TERMINAL])))
        for line in _lines(annotator, labelled, failed, called):
            click.echo(line)
        if output is not None and labelled:
            click.echo(f"wrote {output}")
    sys.exit(UNFINISHED if failed else DONE)


def _annotator(recipe: Any, k: int | None) -> Annotator:
    import torch

    from annotate.model.annotator import Annotator

    return Annotator(recipe, k=k, device="cuda" if torch.cuda.is_available() else "cpu")


def _labelled(annotator: Annotator, chosen: list[Any]) -> tuple[list[Labelled], list[tuple[str, PictureError]]]:
    """The pictures with their labels, one at a time; and the keys of those that cannot be read, with the reason."""
    from annotate.errors import PictureError
    from annotate.inspect import Labelled

    labelled, failed = [], []
    with counting("labelling", len(chosen), "pictures") as more:
        for key, read in chosen:
            try:
                picture = annotator.recipe.decode(read())
                labelled.append(Labelled(key, picture, annotator([picture])[0]))
            except PictureError as error:
                failed.append((key, error))
            more(1)
    return labelled, failed


def _title(annotator: Annotator) -> str:
    from annotate.model.recipe import annotator_of

    (h, w), heads = annotator.grid, ", ".join(map(str, annotator.consistency))
    return f"{annotator_of(annotator.recipe.to_json())}, {h} x {w} locations, dense head {heads}"


def _largest(labelled: Labelled, names: Names) -> list[tuple[str, float]]:
    """Short names of the classes that cover most of a picture, each with its mean probability."""
    from itertools import islice

    from annotate.inspect.palette import shares

    return [(names.short(number), part) for number, part in islice(shares(labelled.label).items(), _LISTED)]


def _lines(
    annotator: Annotator, labelled: list[Labelled], failed: list[tuple[str, PictureError]], names: Names
) -> list[str]:
    from annotate.text import printable

    lines = [_title(annotator)]
    for each in labelled:
        classes = ", ".join(f"{printable(name)} {part:.2f}" for name, part in _largest(each, names))
        lines.append(f"{printable(each.key)}: {classes}")
    return [*lines, *(f"{printable(key)}: {why.status.word}, {printable(why.reason)}" for key, why in failed)]


def _as_json(
    annotator: Annotator,
    labelled: list[Labelled],
    failed: list[tuple[str, PictureError]],
    names: Names,
    output: Path | None,
) -> dict[str, Any]:
    return {
        "grid": list(annotator.grid),
        "head": ", ".join(map(str, annotator.consistency)),
        "pictures": [
            {
                "key": each.key,
                "classes": [{"class": name, "part": round(part, 4)} for name, part in _largest(each, names)],
            }
            for each in labelled
        ],
        "failures": [{"key": key, "status": why.status.word, "reason": why.reason} for key, why in failed],
        "sheet": None if output is None else str(output),
    }
