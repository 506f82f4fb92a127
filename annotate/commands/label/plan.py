"""How long will a run take, and how large will its store be? `annotate plan`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from annotate.commands.answers import answer, json_option
from annotate.commands.options.labelling import labelling_options
from annotate.commands.options.recipe import MORE, recipe_of, recipe_options
from annotate.commands.options.store import address
from annotate.commands.progress import counting, note

if TYPE_CHECKING:
    from annotate.fidelity import Worth
    from annotate.images.source import ImageSource
    from annotate.model.recipe import Recipe


@click.command(epilog=MORE)
@address("images")
@recipe_options
@labelling_options
@click.option("--assume", type=click.IntRange(min=1), metavar="N", help="Estimate for N pictures, for example 1281167.")
@click.option("--fidelity", "with_fidelity", is_flag=True, help="Also measure whether --scales are worth their cost.")
@json_option
def plan(
    images: str,
    k: int | None,
    batch_size: int | None,
    rows_per_shard: int | None,
    compiled: bool | None,
    workers: int | None,
    assume: int | None,
    with_fidelity: bool,
    as_json: bool,
    precision: Literal["auto", "float32", "bfloat16"],
    **settings: Any,
) -> None:
    """Estimate what `annotate run` on IMAGES will take: shards, bytes and hours.

    The estimate comes from labelling 112 of the pictures on this machine; nothing is stored. --fidelity labels 16 more
    with and without scales, and compares targets of crops with labels of the crops (docs/annotators.md).
    """
    import torch

    from annotate.cores import usable_cores
    from annotate.errors import AnnotateError
    from annotate.images import open_images
    from annotate.jobs.execution import resolve_precision
    from annotate.jobs.plan import PROBED
    from annotate.jobs.plan import plan as estimate
    from storage import StoreError

    source = open_images(images)
    gpus = torch.cuda.device_count()
    recipe = recipe_of(**settings, precision=resolve_precision(precision))
    for sentence in recipe.notes:
        note(sentence)
    with counting("probing", PROBED, "pictures") as count:
        found = estimate(
            source,
            recipe,
            k=k,
            rows_per_shard=rows_per_shard,
            batch_size=batch_size or 32,
            compiled=compiled,
            pictures=assume,
            workers=workers or gpus or usable_cores(),
            on_pictures=count,
        )
    if not with_fidelity:
        answer(found, as_json)
        return
    if not as_json:
        answer(found, as_json)
    try:
        worth = _worth(source, recipe, k)
    except (AnnotateError, StoreError) as error:
        if as_json:
            answer(found, as_json, fidelity=None)
        failed = AnnotateError(f"--fidelity could not compare labels without and with --scales: {error}")
        for page in getattr(error, "__notes__", ()):
            failed.add_note(page)
        raise failed from error
    if as_json:
        answer(found, as_json, fidelity=worth.to_json())
    else:
        click.echo(worth.describe())


def _worth(source: ImageSource, recipe: Recipe, k: int | None) -> Worth:
    from annotate.fidelity import PICTURES, SCALES, worth_of_scales

    scales = recipe.scales if len(recipe.scales) > 1 else SCALES
    with counting("comparing", 2 * min(PICTURES, len(source.keys)), "pictures") as count:
        return worth_of_scales(source, recipe, k=k, scales=scales, on_picture=count)
