"""What will a run take? `annotate plan`"""

from __future__ import annotations

from typing import Any

import click

from annotate.commands.answers import answer, json_option
from annotate.commands.options.labelling import labelling_options
from annotate.commands.options.recipe import MORE, recipe_of, recipe_options
from annotate.commands.options.store import address
from annotate.commands.progress import counting


@click.command(epilog=MORE)
@address("images")
@recipe_options
@labelling_options
@click.option(
    "--assume", type=click.IntRange(min=1), metavar="N", help="Estimate for N pictures: 1281167 for ImageNet."
)
@json_option
def plan(
    images: str,
    k: int,
    batch_size: int | None,
    rows_per_shard: int | None,
    compiled: bool | None,
    workers: int | None,
    assume: int | None,
    as_json: bool,
    precision: str,
    **settings: Any,
) -> None:
    """Estimate what `annotate run` on IMAGES will take: shards, bytes and hours.

    The estimate comes from labelling some of the pictures on this machine; nothing is stored.
    """
    import torch

    from annotate.cores import usable_cores
    from annotate.images import open_images
    from annotate.jobs.plan import PROBED
    from annotate.jobs.plan import plan as estimate
    from annotate.jobs.resume import default_precision

    source = open_images(images)
    gpus = torch.cuda.device_count()
    recipe = recipe_of(**settings, precision=default_precision() if precision == "auto" else precision)
    with counting("probing", PROBED, "images") as count:
        found = estimate(
            source,
            recipe,
            k=k,
            rows_per_shard=rows_per_shard,
            batch_size=batch_size or 32,
            compiled=compiled,
            pictures=assume,
            workers=workers or gpus or usable_cores(),
            report=count,
        )
    answer(found, as_json)
