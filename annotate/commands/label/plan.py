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


@click.command(epilog=MORE)
@address("images")
@recipe_options
@labelling_options
@click.option("--assume", type=click.IntRange(min=1), metavar="N", help="Estimate for N pictures, for example 1281167.")
@click.option("--fidelity", "with_fidelity", is_flag=True, help="Also measure whether --scales are worth their cost.")
@json_option
def plan(
    images: str,
    k: int,
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
    from annotate.images import open_images
    from annotate.jobs.execution import resolve_precision
    from annotate.jobs.plan import PROBED
    from annotate.jobs.plan import plan as estimate

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
    worth: Worth | None = None
    if with_fidelity:
        from annotate.fidelity import PICTURES, worth_of_scales

        with counting("comparing", 2 * min(PICTURES, len(source.keys)), "pictures") as count:
            worth = worth_of_scales(source, recipe, k=k, on_picture=count)
    if as_json and worth is not None:
        answer(found, as_json, fidelity=worth.to_json())
        return
    answer(found, as_json)
    if worth is not None:
        click.echo(worth.describe())
