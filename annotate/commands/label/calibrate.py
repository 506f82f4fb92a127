"""Which temperature makes confidence match accuracy? `annotate calibrate`"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from annotate.commands.answers import answer, json_option, writing
from annotate.commands.options.recipe import recipe_of, recipe_options
from annotate.commands.options.store import address
from annotate.commands.progress import counting, note


@click.command()
@address("images")
@recipe_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the temperature to a file for `run --config`."
)
@click.option("--names", type=click.Path(path_type=Path), help="File of the networks' class names, one a line.")
@click.option("--count", type=click.IntRange(min=2), default=2000, help="Number of pictures to use, chosen at random.")
@json_option
def calibrate(
    images: str,
    output: Path | None,
    names: Path | None,
    count: int,
    batch_size: int | None,
    as_json: bool,
    precision: Literal["auto", "float32", "bfloat16"],
    **settings: Any,
) -> None:
    """Fit the temperature, so that confidence matches accuracy on IMAGES.

    IMAGES is a collection whose classes are known: a folder with one folder for each class, called by the class's name,
    number or ImageNet synset (n01440764), or a list with a number or name for each picture. Use pictures that the
    networks were not trained on. A temperature belongs to one precision; without --precision it is what a new store
    would have on this machine.
    """
    from annotate.class_names import read_names
    from annotate.images import open_images
    from annotate.jobs.calibrate import calibrate as fit
    from annotate.jobs.execution import resolve_precision
    from annotate.model.annotator import Annotator

    source = open_images(images)
    recipe = recipe_of(**settings, precision=resolve_precision(precision))
    for sentence in recipe.notes:
        note(sentence)
    annotator = Annotator(recipe, k=1)
    known = recipe.class_names() if names is None else read_names(names, annotator.class_count)
    with counting("classifying", min(count, len(source.keys)), "pictures") as more:
        found = fit(source, annotator, known, count=count, batch_size=batch_size or 32, on_pictures=more)
    if output is not None:
        with writing(output):
            output.write_text(found.to_toml())
    answer(found, as_json)
    if output is not None and not as_json:
        click.echo(f"wrote {output}: give it to `annotate run` with --config")
