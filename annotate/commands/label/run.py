"""How does a collection become labels in a store? `annotate run`"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from annotate.commands.answers import answer, exit_as, json_option, writing
from annotate.commands.options.labelling import labelling_options
from annotate.commands.options.recipe import MORE, recipe_of, recipe_options
from annotate.commands.options.store import address
from annotate.commands.progress import note, progress_display
from annotate.commands.signals import ended_by_signals

if TYPE_CHECKING:
    from annotate.jobs.summary import Summary
    from annotate.jobs.workers import Workers
    from annotate.model.recipe import Recipe

_ON_CLUSTERS = """\b
On clusters (docs/cluster.md): --ray-address ADDRESS|auto,
--gpus-per-worker N, --cpus-per-worker N, --shards A-B for a part,
--local without Ray, --failures FILE."""


def _shards(ctx: click.Context, parameter: click.Parameter, text: str | None) -> range | None:
    """The numbers of "0-311", or of "7"."""
    if text is None:
        return None
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise click.BadParameter(f"give the first and the last shard, as in 0-311, not {text!r}")
    return range(int(first), int(last) + 1)


@click.command(epilog=f"{MORE}\n\n{_ON_CLUSTERS}")
@address("images")
@address("store")
@recipe_options
@labelling_options
@click.option("--ray-address", hidden=True)
@click.option("--gpus-per-worker", type=click.FloatRange(min=0), hidden=True)
@click.option("--cpus-per-worker", type=click.FloatRange(min=0), hidden=True)
@click.option("--local", is_flag=True, hidden=True)
@click.option("--shards", "part", callback=_shards, hidden=True)
@click.option("--failures", type=click.Path(path_type=Path), hidden=True)
@click.option("--names", type=click.Path(path_type=Path), hidden=True)
@click.option("--retry-failed", is_flag=True, hidden=True)
@click.option("--allow-global", is_flag=True, hidden=True)
@json_option
def run(
    images: str,
    store: str,
    k: int | None,
    batch_size: int | None,
    rows_per_shard: int | None,
    compiled: bool | None,
    part: range | None,
    failures: Path | None,
    names: Path | None,
    retry_failed: bool,
    allow_global: bool,
    as_json: bool,
    workers: int | None,
    ray_address: str | None,
    gpus_per_worker: float | None,
    cpus_per_worker: float | None,
    local: bool,
    precision: Literal["auto", "float32", "bfloat16"],
    **settings: Any,
) -> None:
    """Label every picture of IMAGES into STORE; run it again to resume.

    IMAGES is a folder, tar files, a list of paths, or a dataset on disk (docs/sources.md). STORE becomes a Zarr group;
    if it exists, with the same settings, only pictures without a label are labelled. --retry-failed also labels
    pictures that failed before and can be read now.
    """
    if failures is not None and not failures.parent.is_dir():
        raise click.UsageError(
            f"cannot write --failures {failures}: there is no folder {failures.parent}; make it first"
        )
    with ended_by_signals():
        from annotate.class_names import read_names
        from annotate.images import open_images
        from annotate.jobs.execution import resolve_precision
        from annotate.jobs.run import run as label

        _refuse_workers_of_one_process(local, workers, ray_address, gpus_per_worker, cpus_per_worker)
        source = open_images(images)
        recipe = recipe_of(**settings, precision=resolve_precision(precision, store))
        at_work = _workers(recipe, k, local, workers, ray_address, gpus_per_worker, cpus_per_worker)
        # Ray prints to stdout when workers die, and stdout is for the answer.
        with redirect_stdout(sys.stderr), progress_display("labelling", workers=lambda: at_work.count) as display:
            summary = label(
                source,
                store,
                recipe,
                at_work,
                k=k,
                rows_per_shard=rows_per_shard,
                batch_size=batch_size,
                compiled=compiled,
                part=part,
                names=None if names is None else read_names(names),
                retry_failed=retry_failed,
                allow_global=allow_global,
                on_progress=display.show,
                say=display.say,
            )
    written = _write_failures(_unlabelled(summary, store), store, part, failures)
    answer(summary, as_json)
    if not as_json:
        if written:
            click.echo(f"pictures that could not be labelled are listed in {written}")
        click.echo(f"to see the labels: annotate inspect {store} --images {images} -o sheet.png")
    exit_as(summary)


def _refuse_workers_of_one_process(
    local: bool, count: int | None, address: str | None, gpus: float | None, cpus: float | None
) -> None:
    """Refuse --local together with what asks for other processes."""
    if local and (count not in (None, 1) or address not in (None, "local") or gpus is not None or cpus is not None):
        raise click.UsageError(
            "--local works in this process alone: leave out --workers, --ray-address, --gpus-per-worker and "
            "--cpus-per-worker. For more workers, start the command several times, each with another --shards"
        )


def _workers(
    recipe: Recipe,
    k: int | None,
    local: bool,
    count: int | None,
    address: str | None,
    gpus: float | None,
    cpus: float | None,
) -> Workers:
    """Who does the work: this process, Ray's workers, or where neither was asked for, whichever is done sooner."""
    import torch

    from annotate.cluster.ray_workers import RayWorkers
    from annotate.jobs.choose_workers import ChosenWorkers
    from annotate.jobs.labelling.label_job import one_thread
    from annotate.jobs.workers import LocalWorkers
    from annotate.model.annotator import Annotator

    def ray() -> Workers:
        return RayWorkers(count, gpus_per_worker=gpus, cpus_per_worker=cpus, address=address or "local")

    def seconds() -> float:
        with one_thread():  # as in the workers
            return Annotator(recipe, k=k).seconds()

    if local:
        return LocalWorkers()
    if (count, address, gpus, cpus) != (None, None, None, None):
        return ray()
    return ChosenWorkers(ray, seconds, gpus=torch.cuda.device_count())


def _unlabelled(summary: Summary, store: str) -> list[tuple[str, str, str]]:
    """Key, status and reason of each picture without a label."""
    from storage import open_store

    keys = open_store(store).keys if summary.given_up else ()
    pending = [(keys[row], "pending", why) for rows, why in summary.given_up for row in rows]
    return [*summary.failures, *pending]


def _write_failures(
    rows: Sequence[tuple[str, str, str]], store: str, part: range | None, path: Path | None
) -> Path | None:
    """Write them to `path`, or by default beside a store that is a folder; return the file, if there is one.

    Each part of a job has its own file. What an earlier run wrote beside the store is removed when nothing failed. A
    file that cannot be written is a line, not an error: the labels are there.
    """
    if path is not None:
        try:
            return _written(rows, path)
        except click.ClickException as error:
            note(f"{error.message}; the same command with another --failures FILE writes the list: no label is lost")
            return None
    if "://" in store:
        return None
    name = "" if part is None else f"-{part.start}-{part.stop - 1}"
    path = Path(f"{store.rstrip('/')}-failures{name}.csv")
    try:
        if rows:
            return _written(rows, path)
        with writing(path):
            path.unlink(missing_ok=True)
    except click.ClickException as error:
        old = "what is there is of an earlier run; --failures FILE names another file"
        note(f"{error.message}; {old}")
    return None


def _written(rows: Sequence[tuple[str, str, str]], path: Path) -> Path:
    with writing(path), path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("key", "status", "reason"), *rows])
    return path
