"""Do labels depend on what is at their location, or on the whole picture? `annotate locality`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from annotate.commands.answers import answer, json_option, writing
from annotate.commands.options.labelling import temperature_option, top_k_option
from annotate.commands.options.recipe import recipe_of, recipe_options
from annotate.commands.options.store import address
from annotate.commands.progress import counting

if TYPE_CHECKING:
    from annotate.locality import Example

_SHOWN = 4  # mosaics on a sheet


@click.command()
@address("images")
@recipe_options
@temperature_option
@top_k_option("Measure")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Show up to four mosaics and their labels in a PNG file."
)
@click.option("--count", type=click.IntRange(min=1), default=16, help="Number of mosaics, each of four pictures.")
@json_option
def locality(
    images: str,
    k: int | None,
    output: Path | None,
    count: int,
    batch_size: int | None,
    as_json: bool,
    precision: Literal["auto", "float32", "bfloat16"],
    **settings: Any,
) -> None:
    """Measure whether labels depend on their own location, on mosaics of IMAGES.

    Four pictures are put into one, and each is also asked alone. The locality is 1 if each location is labelled by what
    is there, and 0.25 if all are labelled by the whole picture. No classes need to be known; the pictures are chosen at
    random. docs/annotators.md says what it means.
    """
    import torch

    from annotate.images import open_images
    from annotate.inspect import Names, mosaics_sheet
    from annotate.jobs.execution import resolve_precision
    from annotate.locality import locality as measure
    from annotate.model.annotator import Annotator
    from annotate.model.recipe import annotator_of

    source = open_images(images)
    recipe = recipe_of(**settings, precision=resolve_precision(precision))
    annotator = Annotator(recipe, k=k, device="cuda" if torch.cuda.is_available() else "cpu")
    examples: list[Example] = []
    with counting("measuring", count, "mosaics") as more:

        def keep(example: Example) -> None:
            more(1)
            if len(examples) < _SHOWN:
                examples.append(example)

        found = measure(source, annotator, mosaics=count, on_mosaic=keep)
    if output is not None and examples:
        names = Names(annotator.class_count, recipe.class_names())
        title = f"{annotator_of(recipe.to_json())}, locality {found}"
        sheet = mosaics_sheet(examples, names, title)
        with writing(output):
            sheet.save(output, format="PNG")
    answer(found, as_json)
    if output is not None and not as_json:
        click.echo(f"wrote {output}" if examples else f"nothing to show: {output} was not written")
