"""Which temperature makes confidence match accuracy, or which threshold a vocabulary complete? `annotate calibrate`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from annotate.commands.answers import answer, json_option, writing
from annotate.commands.options.recipe import recipe_of, recipe_options
from annotate.commands.options.store import address
from annotate.commands.progress import counting, note

if TYPE_CHECKING:
    from annotate.jobs.background import Background
    from annotate.jobs.calibrate import Calibration


@click.command()
@address("images")
@recipe_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write what was fitted to a file for `run --config`."
)
@click.option("--names", type=click.Path(path_type=Path), help="File of the networks' class names, one a line.")
@click.option("--count", type=click.IntRange(min=2), default=2000, help="Number of pictures to use, chosen at random.")
@click.option(
    "--background",
    type=click.FloatRange(min=0, max=1),
    metavar="SHARE",
    help="Fit the threshold of a --vocabulary instead, so that it leaves this share of the locations to no name.",
)
@json_option
def calibrate(
    images: str,
    output: Path | None,
    names: Path | None,
    count: int,
    background: float | None,
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

    With --background no classes need to be known: the threshold is fitted on any pictures.
    """
    from annotate.class_names import read_names
    from annotate.images import open_images
    from annotate.jobs.calibrate import calibrate as fit
    from annotate.jobs.execution import resolve_precision
    from annotate.model.annotator import Annotator

    source = open_images(images)
    if background is not None:
        if settings.get("vocabulary") is None:
            raise click.UsageError("--background fits the threshold of a vocabulary: give --vocabulary FILE with it")
        settings["threshold"] = 0.0  # any: the names' own logits do not depend on it
    recipe = recipe_of(**settings, precision=resolve_precision(precision))
    for sentence in recipe.notes:
        note(sentence)
    annotator = Annotator(recipe, k=1)
    if background is not None:
        from annotate.jobs.background import background as fit_threshold

        with counting("asking", min(count, len(source.keys)), "pictures") as more:
            threshold = fit_threshold(
                source, annotator, background, count=count, batch_size=batch_size or 32, on_pictures=more
            )
        _written(threshold, output, as_json)
        return
    known = recipe.class_names() if names is None else read_names(names, annotator.class_count)
    with counting("classifying", min(count, len(source.keys)), "pictures") as more:
        found = fit(source, annotator, known, count=count, batch_size=batch_size or 32, on_pictures=more)
    _written(found, output, as_json)


def _written(found: Calibration | Background, output: Path | None, as_json: bool) -> None:
    """Write the settings where they are asked for, and say what was found."""
    if output is not None:
        with writing(output):
            output.write_text(found.to_toml())
    answer(found, as_json)
    if output is not None and not as_json:
        click.echo(f"wrote {output}: give it to `annotate run` with --config")
