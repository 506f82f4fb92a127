"""How far is a crop's target from the annotator's own answer on that crop? `annotate fidelity`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from annotate.commands.answers import answer, json_option, writing
from annotate.commands.options.store import address, open_partial
from annotate.commands.progress import counting

if TYPE_CHECKING:
    from annotate.fidelity import Fidelity, Line

_AREAS = "0.08,0.15,0.25,0.5,0.75,1"


def _areas(_: click.Context, __: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        found = tuple(map(float, text.split(",")))
    except ValueError:
        found = ()
    if not found or not all(0 < area <= 1 for area in found):
        raise click.BadParameter(f"give fractions of a picture's area in (0, 1], such as {_AREAS}, not {text!r}")
    return found


@click.command()
@address("images")
@address("store")
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="File of weights, or folder of an hf: network, that STORE was labelled with; for each network that had one.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw the figures as curves in a PNG file.")
@click.option("--count", type=click.IntRange(min=2), default=64, help="Number of pictures, chosen at random.")
@click.option("--crops", type=click.IntRange(min=1), default=2, help="Number of crops of each size of a picture.")
@click.option("--areas", default=_AREAS, callback=_areas, metavar="A,A,…", help="Sizes: fractions of a picture's area.")
@click.option("--keep", type=click.IntRange(min=1), default=8, help="Classes of a target that training keeps.")
@click.option("--seed", type=int, default=0, help="Random seed.")
@json_option
def fidelity(
    images: str,
    store: str,
    checkpoints: tuple[Path, ...],
    output: Path | None,
    count: int,
    crops: int,
    areas: tuple[float, ...],
    keep: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compare targets of crops, read from STORE, with answers on the crops.

    Training reads the target of a crop from the label of the whole picture. Here the annotator of STORE is also asked
    for the crop alone. KL is 0 nats where both are equal; docs/annotators.md says what it means. IMAGES are the
    pictures that STORE was made of.
    """
    from annotate.fidelity import annotator_of_store, curve
    from annotate.fidelity import fidelity as measure
    from annotate.images import by_key
    from annotate.model.recipe import annotator_of

    opened = open_partial(store)
    annotator = annotator_of_store(opened, checkpoints)
    with counting("comparing", min(count, len(opened)), "pictures") as more:
        found = measure(
            opened,
            by_key(images),
            annotator,
            pictures=count,
            crops=crops,
            areas=areas,
            keep=keep,
            seed=seed,
            on_picture=more,
        )
    if output is not None:
        title = f"Targets of crops against answers on the crops: {annotator_of(opened.schema.recipe)}"
        drawn = curve(f"{title}, {found.pictures:,} pictures", _lines(found))
        with writing(output):
            drawn.save(output, format="PNG", optimize=True)
    answer(found, as_json)
    if output is not None and not as_json:
        click.echo(f"wrote {output}")


def _lines(found: Fidelity) -> list[Line]:
    from annotate.fidelity import Line

    named: dict[str, list[Any]] = {
        "against the crop's own label": [(each.area, each.label) for each in found.sizes],
        "against the network's answer for the crop": [
            (each.area, each.answer) for each in found.sizes if each.answer is not None
        ],
    }
    return [Line(name=name, points=points) for name, points in named.items() if points]
