"""How do new pictures of a collection get labels, and the others keep theirs? `annotate append`"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any, Literal

import click

from annotate.commands.answers import answer, exit_as, json_option
from annotate.commands.options.recipe import MORE, recipe_of, recipe_options
from annotate.commands.options.store import address


@click.command(epilog=MORE)
@address("store")
@address("images")
@address("target")
@recipe_options
@click.option("--temperature", type=float, default=1.0, metavar="T", help="Temperature of STORE's labels.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Workers of Ray. Default: this process alone.")
@json_option
def append(
    store: str,
    images: str,
    target: str,
    workers: int | None,
    batch_size: int | None,
    precision: Literal["auto", "float32", "bfloat16"],
    as_json: bool,
    **settings: Any,
) -> None:
    """Label the pictures of IMAGES that STORE does not have, and make TARGET of both; run it again to resume.

    The settings are those of STORE. Its rows keep their numbers and labels to the bit; new ones follow. TARGET is a new
    store, because the keys of a store are sealed.
    """
    from annotate.commands.progress import progress_display
    from annotate.exchange.appending import append as label
    from annotate.images import open_images
    from annotate.jobs.execution import resolve_precision
    from annotate.jobs.workers import LocalWorkers, Workers
    from storage import open_store

    recipe = recipe_of(**settings, precision=resolve_precision(precision, store))
    at_work: Workers = LocalWorkers()
    if workers is not None:
        from annotate.cluster.ray_workers import RayWorkers

        at_work = RayWorkers(workers)
    with redirect_stdout(sys.stderr), progress_display("labelling", workers=lambda: at_work.count) as display:
        summary = label(
            open_store(store),
            open_images(images),
            target,
            recipe,
            at_work,
            on_progress=display.show,
            say=display.say,
        )
    answer(summary, as_json)
    exit_as(summary)
