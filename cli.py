"""What can be done from a command line? Thin commands; each imports what it needs when it runs."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click

DONE, ERROR, USAGE, UNFINISHED, DAMAGED, INTERRUPTED = 0, 1, 2, 3, 4, 130

_STORE = click.argument("store")  # an address, not always a path
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


class _Commands(click.Group):
    """The group, which turns errors that a person can mend into one message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted; the same command goes on where this one ended", err=True)
            # At once: a Ray that has half started may abort on the way out, and Python kill itself by the signal of an
            # interrupted import. Ray's daemons end by themselves.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        except click.ClickException:
            raise
        except Exception as error:  # only to ask whose it is: those that are not ours go on as they came
            if not _is_ours(error):
                raise
            from annotate.printable import without_home

            click.echo(f"error: {without_home(str(error))}", err=True)
            sys.exit(ERROR)


def _is_ours(error: Exception) -> bool:
    """Whether the message was written for the person at the terminal. Asked after the fact, so that help stays fast."""
    from annotate.errors import AnnotateError
    from storage import StoreError

    return isinstance(error, AnnotateError | StoreError)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tokenlabel", prog_name="annotate")
def main() -> None:
    """Label pictures densely with a pretrained network, and look after the labels.

    \b
    Exit codes:
      0    done
      1    error; the message says what to do
      2    wrong usage
      3    done as far as possible: some pictures or shards have no label
      4    verify found damage
      130  interrupted; the same command goes on
    """


_MORE = """\b
More settings, as options or in the file: --model-kwarg KEY=VALUE, --batch-size,
--rows-per-shard, --precision auto|float32|bfloat16, --compile / --no-compile,
--exif ignore|apply, --names FILE. docs/annotators.md says what they do."""


def _size(value: Any) -> tuple[int, int]:
    """The (height, width) of "224", 224 or "192x256"."""
    parts = str(value).lower().split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts) or len(parts) > 2:
        raise _miswritten("input_sizes", value)
    return int(parts[0]), int(parts[-1])


def _scales(value: Any) -> tuple[float, ...]:
    """The numbers of "0.8,1.0", of a list, or of one number."""
    try:
        return tuple(map(float, value if isinstance(value, list | tuple) else str(value).split(",")))
    except (TypeError, ValueError):
        raise _miswritten("scales", value) from None


def _model_kwarg(text: str) -> tuple[str, Any]:
    """Key and value of "output_stride=8"; a value that is no Python literal is text."""
    import ast

    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise _miswritten("model_kwargs", text)
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


def _miswritten(name: str, value: Any) -> click.BadParameter:
    from annotate.settings import WRITTEN

    return click.BadParameter(f"give {WRITTEN[name][1]}; not {value!r}")


def _read_configs(ctx: click.Context, _: click.Parameter, paths: tuple[Path, ...]) -> None:
    """Take the options that are not given from TOML files, the last one's first."""
    from annotate.settings import read_settings

    ctx.default_map = {name: value for path in paths for name, value in read_settings(path, (run, ctx.command)).items()}


def _recipe_options(command: Any) -> Any:
    """What `run` and `calibrate` take to make a recipe."""
    for option in reversed(
        [
            click.option(
                "--model", "models", multiple=True, metavar="NAME", help="A timm network; several are averaged."
            ),
            click.option(
                "--checkpoint", "checkpoints", multiple=True, type=click.Path(path_type=Path), help="Its weights' file."
            ),
            click.option("--pretrained", is_flag=True, help="Weights that timm downloads: the default without a file."),
            click.option(
                "--input-size",
                "input_sizes",
                multiple=True,
                type=_size,
                metavar="N|HxW",
                help="Its input; by default its own.",
            ),
            click.option(
                "--preprocess",
                type=click.Choice(["squash", "letterbox", "center"]),
                default="squash",
                help="Fit to the input.",
            ),
            click.option(
                "--head", type=click.Choice(["local", "frozen"]), default="local", help="How locations are classified."
            ),
            click.option("--flip/--no-flip", help="Look at the mirrored picture, too."),
            click.option(
                "--scales",
                type=_scales,
                default="1.0",
                metavar="S,S,…",
                help="Look at these multiples of the input size.",
            ),
            click.option(
                "--config",
                type=click.Path(path_type=Path),
                is_eager=True,
                expose_value=False,
                callback=_read_configs,
                multiple=True,
                help="A TOML file of these settings; may be repeated.",
            ),
            click.option(
                "--model-kwarg", "model_kwargs", multiple=True, type=_model_kwarg, metavar="KEY=VALUE", hidden=True
            ),
            click.option(
                "--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", hidden=True
            ),
            click.option("--exif", type=click.Choice(["ignore", "apply"]), default="ignore", hidden=True),
            click.option("--batch-size", type=click.IntRange(min=1), hidden=True),
        ]
    ):
        command = option(command)
    return command


_MORE_OF_RUN = """\b
On clusters (docs/cluster.md): --ray-address ADDRESS|auto, --gpus-per-worker N,
--cpus-per-worker N, --shards A-B for a part, --local without Ray, --failures FILE."""


def _shards(ctx: click.Context, parameter: click.Parameter, text: str | None) -> range | None:
    """The numbers of "0-311", or of "7"."""
    if text is None:
        return None
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise click.BadParameter(f"give the first and the last shard, as in 0-311; not {text!r}")
    return range(int(first), int(last) + 1)


def _labelling_options(command: Any) -> Any:
    """What `run` and `plan` take beside the recipe."""
    for option in reversed(
        [
            click.option("--temperature", type=float, default=1.0, metavar="T", help="From `annotate calibrate`."),
            click.option(
                "-k", "--top-k", "k", type=click.IntRange(min=1), default=5, help="Classes kept at each location: 5."
            ),
            click.option("--workers", type=click.IntRange(min=1), help="By default one for each GPU or core."),
            click.option("--rows-per-shard", type=click.IntRange(min=1), hidden=True),
            click.option("--compile/--no-compile", "compiled", default=None, hidden=True),
        ]
    ):
        command = option(command)
    return command


@main.command(epilog=f"{_MORE}\n\n{_MORE_OF_RUN}")
@click.argument("images")
@_STORE
@_recipe_options
@_labelling_options
@click.option("--ray-address", default="local", hidden=True)
@click.option("--gpus-per-worker", type=click.FloatRange(min=0), hidden=True)
@click.option("--cpus-per-worker", type=click.FloatRange(min=0), hidden=True)
@click.option("--local", is_flag=True, hidden=True)
@click.option("--shards", "part", callback=_shards, hidden=True)
@click.option("--failures", type=click.Path(path_type=Path), hidden=True)
@click.option("--names", type=click.Path(path_type=Path), hidden=True)
@_JSON
def run(
    images: str,
    store: str,
    k: int,
    batch_size: int | None,
    rows_per_shard: int | None,
    compiled: bool | None,
    part: range | None,
    failures: Path | None,
    names: Path | None,
    as_json: bool,
    workers: int | None,
    ray_address: str,
    gpus_per_worker: float | None,
    cpus_per_worker: float | None,
    local: bool,
    **settings: Any,
) -> None:
    """Label every picture of IMAGES into STORE; run it again to go on.

    IMAGES is a folder, tar files, a list of paths, or a data set on disk (docs/sources.md). STORE becomes a Zarr
    group; where it is there and was made with the same settings, only what is missing is labelled.
    """
    if failures is not None and not failures.parent.is_dir():
        raise click.UsageError(f"--failures {failures}: there is no folder {failures.parent}")
    with _ended_by_sigterm():
        from annotate.images import open_images
        from annotate.inspect.names import read_names
        from annotate.progress import reporting
        from annotate.run import default_precision
        from annotate.run import run as label

        at_work = _workers(local, workers, ray_address, gpus_per_worker, cpus_per_worker)
        source = open_images(images)
        precision = settings.pop("precision")
        recipe = _recipe(**settings, precision=default_precision(store) if precision == "auto" else precision)
        # Ray prints what it has to say of dead workers, and stdout is for the answer.
        with redirect_stdout(sys.stderr), reporting("labelling", workers=lambda: at_work.count) as reporter:
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
                report=reporter.report,
                say=reporter.say,
            )
    click.echo(json.dumps(summary.to_json()) if as_json else summary.describe())
    listed = _write_failures(summary, source.keys, store, part, failures)
    if not as_json:
        if listed:
            click.echo(f"all that could not be labelled: {listed}")
        click.echo(f"look at them: annotate inspect {store} --images {images} -o sheet.png")
    sys.exit(DONE if summary.complete else UNFINISHED)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """What a batch system sends first is taken as Ctrl-C is."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _workers(local: bool, count: int | None, address: str, gpus: float | None, cpus: float | None) -> Any:
    """Who does the work."""
    if local:
        if count not in (None, 1) or address != "local" or gpus is not None or cpus is not None:
            raise click.UsageError(
                "--local works in this process alone: leave out --workers, --ray-address, --gpus-per-worker and "
                "--cpus-per-worker, or start more of it, each with its own --shards"
            )
        from annotate.workers import LocalWorkers

        return LocalWorkers()
    from annotate.ray_workers import RayWorkers

    return RayWorkers(count, gpus_per_worker=gpus, cpus_per_worker=cpus, address=address)


def _write_failures(summary: Any, keys: Any, store: str, part: range | None, path: Path | None) -> Path | None:
    """Write key, status and reason of each picture without a label, if there is any and a place for it.

    Parts of a job have a file each, and what an earlier run wrote does not outlive it.
    """
    import csv

    rows = [*summary.failures]
    rows += [(keys[row], "pending", why) for given_up, why in summary.given_up for row in given_up]
    if path is None:
        if "://" in store:
            return None
        name = "" if part is None else f"-{part.start}-{part.stop - 1}"
        path = Path(f"{store.rstrip('/')}-failures{name}.csv")
        if not rows:
            path.unlink(missing_ok=True)
            return None
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("key", "status", "reason"), *rows])
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
    return path


@main.command(epilog=_MORE)
@click.argument("images")
@_recipe_options
@_labelling_options
@click.option("--assume", type=click.IntRange(min=1), metavar="N", help="Reckon with N pictures: 1281167 for ImageNet.")
@_JSON
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
    """Say what `annotate run` on IMAGES will take: shards, bytes, and hours, from a probe of some pictures here."""

    import torch
    from tqdm import tqdm

    from annotate.images import open_images
    from annotate.plan import PROBED
    from annotate.plan import plan as reckon

    source = open_images(images)
    gpus = torch.cuda.device_count()
    automatic = "bfloat16" if gpus else "float32"
    recipe = _recipe(**settings, precision=automatic if precision == "auto" else precision)
    with tqdm(total=PROBED, unit=" images", desc="probing") as bar:
        found = reckon(
            source,
            recipe,
            k=k,
            rows_per_shard=rows_per_shard,
            batch_size=batch_size or 32,
            compiled=compiled,
            pictures=assume,
            workers=workers or gpus or os.cpu_count() or 1,
            report=bar.update,
        )
    click.echo(json.dumps(found.to_json()) if as_json else found.describe())


def _recipe(
    *,
    models: tuple[str, ...],
    checkpoints: tuple[Path, ...],
    pretrained: bool,
    input_sizes: tuple[tuple[int, int], ...],
    model_kwargs: tuple[tuple[str, Any], ...],
    **others: Any,
) -> Any:
    """The recipe of the options."""
    from annotate.recipe import Recipe

    networks = _networks(models, checkpoints, pretrained, input_sizes, model_kwargs)
    return Recipe(networks=networks, **others)


def _networks(
    models: tuple[str, ...],
    checkpoints: tuple[Path, ...],
    pretrained: bool,
    input_sizes: tuple[tuple[int, int], ...],
    model_kwargs: tuple[tuple[str, Any], ...],
) -> tuple[Any, ...]:
    """The networks of the options: what is given once holds for each, or else it is given as often as --model."""
    from annotate.network import Network

    if not models:
        raise click.UsageError("Missing option '--model': the name of a timm network, for example dm_nfnet_f6.dm_in1k")
    if pretrained and checkpoints:
        raise click.UsageError("--pretrained asks for timm's weights, and --checkpoint for others: give one of them")
    files = _for_each(models, checkpoints or (None,), "--checkpoint", alike=not checkpoints)
    sizes = _for_each(models, input_sizes or (None,), "--input-size", alike=True)
    return tuple(
        Network.of(model, checkpoint=file, input_size=size, model_kwargs=dict(model_kwargs))
        for model, file, size in zip(models, files, sizes, strict=True)
    )


def _for_each(models: tuple[str, ...], values: tuple[Any, ...], option: str, *, alike: bool) -> tuple[Any, ...]:
    if len(values) == 1 and alike:
        return values * len(models)
    if len(values) != len(models):
        raise click.UsageError(
            f"there are {len(models)} --model and {len(values)} {option}: give one for each, in their order"
        )
    return values


@main.command()
@click.argument("images")
@_recipe_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write settings for `annotate run --config`.")
@click.option("--count", type=click.IntRange(min=2), default=2000, help="Pictures to ask about, drawn by chance: 2000.")
@_JSON
def calibrate(
    images: str, output: Path | None, count: int, batch_size: int | None, as_json: bool, precision: str, **settings: Any
) -> None:
    """Fit the temperature at which the networks are as sure of IMAGES as they are right.

    IMAGES need classes with the names of the networks' own, as in a folder with a folder for each class. Use pictures
    that the networks were not trained on.
    """
    from tqdm import tqdm

    from annotate.annotator import Annotator
    from annotate.calibration import calibrate as fit
    from annotate.images import open_images

    source = open_images(images)
    recipe = _recipe(**settings, precision="float32" if precision == "auto" else precision)
    annotator = Annotator(recipe, k=1)
    with tqdm(total=min(count, len(source.keys)), unit=" images", desc="asking") as bar:
        found = fit(
            source, annotator, recipe.class_names(), count=count, batch_size=batch_size or 32, report=bar.update
        )
    if output is not None:
        output.write_text(found.to_toml())
    click.echo(json.dumps(found.to_json()) if as_json else found.describe())
    if output is not None and not as_json:
        click.echo(f"wrote {output}: give it to `annotate run` with --config")


@main.command()
@_STORE
@click.option("--watch", is_flag=True, help="Say it again every few seconds, until all is done.")
@click.option("--every", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds, with --watch.")
@_JSON
def status(store: str, watch: bool, every: float, as_json: bool) -> None:
    """Say how far STORE is, from the store alone: from any machine, while others are at work on it."""
    import time

    from annotate.standing import Watch
    from storage import open_store

    seen = Watch(open_store(store))
    while True:
        now = seen.look()
        if as_json:
            click.echo(json.dumps({"store": store, **now.to_json()}))
        else:
            if watch and sys.stdout.isatty():
                click.clear()
            click.echo(now.describe())
        if not watch or not now.pending:
            return
        time.sleep(every)


@main.command()
@_STORE
@click.option("--deep", is_flag=True, help="Decode every label as well, and look at every value.")
@click.option("--repair", is_flag=True, help="Make damaged shards pending again, and mend what can be derived.")
@_JSON
def verify(store: str, deep: bool, repair: bool, as_json: bool) -> None:
    """Read all of STORE again and hold it against what was written.

    Checks the keys, the metadata, every commit record, the SHA-256 of every object and that every row is accounted
    for. Exits with 4 when there is damage, with 3 when shards are pending.
    """
    from tqdm import tqdm

    from storage import DamageError, open_store
    from storage import repair as mend
    from storage import verify as check

    try:
        opened = open_store(store, writable=repair)
    except DamageError as error:
        click.echo(json.dumps({"store": store, "state": "damaged", "problems": [str(error)]}) if as_json else error)
        sys.exit(DAMAGED)
    with tqdm(total=len(opened), unit=" rows", desc="verifying") as bar:
        found = check(opened, deep=deep, report=lambda shard: bar.update(len(shard.rows)))
    answer = {"store": store, **found.to_json()}
    told = [found.describe()]
    state: str = found.state
    if repair and state == "damaged":
        answer["beyond_repair"] = left = mend(opened, found)
        state = "damaged" if left else "pending" if opened.pending() else "ok"
        told += [f"beyond repair: {problem}; restore it from a copy" for problem in left]
        told.append(f"repaired. Now run {_resume(opened)}" if opened.pending() else "repaired")
    elif state == "damaged":
        told.append(f"`annotate verify {store} --repair` mends what it can, and makes damaged shards pending")
    click.echo(json.dumps(answer) if as_json else "\n".join(told))
    sys.exit({"damaged": DAMAGED, "pending": UNFINISHED, "ok": DONE}[state])


def _resume(store: Any) -> str:
    """The command that labels what is pending."""
    recipe = store.schema.recipe
    if "imported" in recipe:
        return f"the same `annotate convert TREE {store.address} --from {recipe['imported']} …` again"
    models = [network["model"] for network in recipe.get("networks", ())] or ["NAME"]
    options = " ".join(f"--model {model}" for model in models)
    return f"`annotate run IMAGES {store.address} {options} …` again, with the same options"


_NAMES = click.option(
    "--names", type=click.Path(path_type=Path), help="The classes' names, a line for each; by default the store's."
)


@main.command()
@_STORE
@click.option("--images", help="The pictures that were labelled; needed to show them.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write a contact sheet to this PNG file.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a report to this file, for any browser.")
@click.option("--count", type=click.IntRange(1, 5000), help="Pictures: 12 on a sheet, 500 in a report.")
@click.option("--key", "keys", multiple=True, help="Show this picture; may be repeated.")
@click.option("--class", "class_name", metavar="NAME", help="Show pictures in which this class is best somewhere.")
@click.option(
    "--sort",
    "order",
    type=click.Choice(["random", "entropy", "confidence", "disagreement"]),
    default="random",
    help="Show first: the least certain, the surest, or those whose label speaks against their class.",
)
@click.option("--rank", type=click.IntRange(min=1), default=1, help="On a sheet: 2 for the second best classes.")
@click.option("--seed", type=int, default=0, help="Of what is drawn at random.")
@_NAMES
@_JSON
def inspect(
    store: str,
    images: str | None,
    output: Path | None,
    html: Path | None,
    count: int | None,
    keys: tuple[str, ...],
    class_name: str | None,
    order: Any,
    rank: int,
    seed: int,
    names: Path | None,
    as_json: bool,
) -> None:
    """Show what is in STORE: a text summary, a sheet of pictures (-o), a report for a browser (--html).

    With --images, a few pictures are shown in the terminal, too. docs/inspect.md explains every figure.
    """
    from annotate.images import by_key
    from annotate.inspect import (
        Names,
        can_show,
        choose_rows,
        contact_sheet,
        describe,
        half_blocks,
        report,
        statistics,
        strip_of,
    )
    from storage import open_store

    if not (output or html or images) and (keys or class_name or count or rank > 1 or order != "random"):
        raise click.UsageError("to show pictures, give --images with -o, with --html, or in a terminal")
    opened = open_store(store)
    called = Names.of(opened, names)
    read = by_key(images) if images is not None else None
    if output is not None and read is None:
        raise click.UsageError("a contact sheet needs --images, the pictures that were labelled")
    wanted: dict[str, Any] = {
        "seed": seed,
        "order": order,
        "keys": keys,
        "number": None if class_name is None else called.number(class_name),
    }
    written: dict[str, Any] = {}
    found: Any = _surveyed(opened) if html is not None or output is None or order != "random" else None
    if output is not None and read is not None:
        rows = _some_rows(choose_rows(opened, count or 12, found=found, **wanted), store)
        sheet = contact_sheet(opened, read, rows, names=called, rank=rank)
        _save(output, lambda: sheet.save(output, format="PNG"))
        written |= {"sheet": str(output), "rows": rows}
    if html is not None:
        from tqdm import tqdm

        rows = _some_rows(choose_rows(opened, count or 500, found=found, **wanted), store)
        with tqdm(total=len(rows), unit=" pictures", desc="writing the report", disable=None) as bar:
            text = report(opened, found, rows, read, names=called, told=bar.update)
        _save(html, lambda: html.write_text(text, encoding="utf-8"))
        written |= {"report": str(html), "report_rows": rows, "rows": written.get("rows", rows)}
    if written:
        told = [
            f"wrote {written[what]}: {len(written[rows_of])} pictures"
            for what, rows_of in (("sheet", "rows"), ("report", "report_rows"))
            if what in written
        ]
        click.echo(json.dumps(written) if as_json else "\n".join(told))
        return
    figures = statistics(opened, found, called)
    click.echo(json.dumps(figures.to_json()) if as_json else describe(opened, figures))
    if read is not None and not as_json and can_show() and figures.labelled:
        rows = _some_rows(choose_rows(opened, count or 3, found=found, **wanted), store)
        strip = strip_of(opened, read, rows[:3], names=called, rank=min(rank, opened.schema.k))
        if strip is not None:
            click.echo(half_blocks(strip))


def _say_unfinished(store: Any) -> None:
    """What is not labelled yet cannot be found, held against anything, or exported."""
    if pending := sum(map(len, store.pending())):
        click.echo(f"{store.address} is unfinished: {pending:,} pictures are still to be labelled", err=True)


def _surveyed(store: Any) -> Any:
    """A survey of a store, with a bar while it takes long."""
    from tqdm import tqdm

    from annotate.inspect import survey

    with tqdm(total=len(store), unit=" rows", desc="reading", disable=None, delay=2, leave=False) as bar:
        return survey(store, report=bar.update)


def _some_rows(rows: list[int], store: str) -> list[int]:
    if not rows:
        raise click.ClickException(f"the store {store} has no labelled picture to show")
    return rows


def _save(path: Path, write: Any) -> None:
    try:
        write()
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error


@main.command()
@click.argument("first")
@click.argument("second")
@click.option("--images", help="The pictures that were labelled; needed for a sheet or a report.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the pictures that differ most to this PNG."
)
@click.option("--html", type=click.Path(path_type=Path), help="Write them and the figures to this file, for a browser.")
@click.option("--count", type=click.IntRange(1, 200), default=8, show_default=True, help="Pictures to show.")
@_NAMES
@_JSON
def compare(
    first: str,
    second: str,
    images: str | None,
    output: Path | None,
    html: Path | None,
    count: int,
    names: Path | None,
    as_json: bool,
) -> None:
    """Hold the labels of two stores of the same pictures against each other: FIRST and SECOND."""
    from tqdm import tqdm

    from annotate.images import by_key
    from annotate.inspect import Names, comparison_page, comparison_sheet
    from annotate.inspect import compare as hold
    from storage import open_store

    if (output or html) and images is None:
        raise click.UsageError("a sheet or a report needs --images, the pictures that were labelled")
    mine, theirs = open_store(first), open_store(second)
    for one in (mine, theirs):
        _say_unfinished(one)
    called = Names.of(mine, names)
    with tqdm(total=len(mine), unit=" rows", desc="comparing", disable=None, delay=2, leave=False) as bar:
        found = hold(mine, theirs, names=called, most=max(count, 20), report=bar.update)
    if output or html:
        keys = [key for key, *_ in found.most[:count]]
        sheet = comparison_sheet(mine, theirs, by_key(str(images)), keys, names=called)
        if output is not None:
            _save(output, lambda: sheet.save(output, format="PNG"))
        if html is not None:
            page = comparison_page(found, sheet, first, second)
            _save(html, lambda: html.write_text(page, encoding="utf-8"))
    click.echo(json.dumps(found.to_json()) if as_json else found.describe())
    for path in (output, html):
        if path is not None and not as_json:
            click.echo(f"wrote {path}")


@main.command()
@_STORE
@click.option("--class", "class_name", required=True, metavar="NAME", help="The class.")
@click.option("--min-area", type=click.FloatRange(0, 1), default=0.0, help="The least part of a picture that is of it.")
@_NAMES
@_JSON
def query(store: str, class_name: str, min_area: float, names: Path | None, as_json: bool) -> None:
    """List the keys of pictures in which a class is best somewhere, those with most of it first."""
    import numpy as np

    from annotate.inspect import Names, areas
    from annotate.printable import printable
    from storage import open_store

    opened = open_store(store)
    _say_unfinished(opened)
    area = areas(opened, Names.of(opened, names).number(class_name))
    rows = np.flatnonzero((area > 0) & (area >= min_area))
    found = [(opened.keys[row], float(area[row])) for row in rows[np.argsort(-area[rows], kind="stable")].tolist()]
    if as_json:
        click.echo(json.dumps([{"key": key, "area": round(part, 4)} for key, part in found]))
        return
    for key, part in found:
        click.echo(f"{part:.3f}\t{printable(key)}")


@main.command()
@_STORE
@click.option("--part", type=click.FloatRange(0, 1), default=0.04, show_default=True, help="Of the pictures to list.")
@_NAMES
@_JSON
def audit(store: str, part: float, names: Path | None, as_json: bool) -> None:
    """List pictures whose own class is probably wrong, by their labels, and classes that no label is sure of."""
    from annotate.inspect import Names
    from annotate.inspect import audit as judge
    from storage import open_store

    opened = open_store(store)
    _say_unfinished(opened)
    found = judge(opened, _surveyed(opened), Names.of(opened, names), part=part)
    click.echo(json.dumps(found.to_json()) if as_json else found.describe())


@main.command()
@_STORE
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--to", "layout", type=click.Choice(["png", "coco", "fiftyone"]), required=True, help="What to write.")
@_NAMES
@_JSON
def export(store: str, target: Path, layout: Any, names: Path | None, as_json: bool) -> None:
    """Write the best class of each location of STORE as masks into the folder TARGET, for other tools."""
    from tqdm import tqdm

    from annotate.inspect import Names
    from annotate.inspect import export as write
    from storage import open_store

    opened = open_store(store)
    _say_unfinished(opened)
    with tqdm(total=len(opened), unit=" rows", desc="exporting", disable=None) as bar:
        count = write(opened, target, layout, names=Names.of(opened, names), report=bar.update)
    answer = {"target": str(target), "pictures": count}
    click.echo(json.dumps(answer) if as_json else f"wrote the masks of {count:,} pictures to {target}")


@main.command()
@click.argument("source")
@click.argument("target")
@click.option(
    "--from",
    "layout",
    type=click.Choice(["tokenlabeling", "relabel"]),
    help="SOURCE is a tree of .pt files that this tool wrote; needs --images and --geometry.",
)
@click.option("--images", type=click.Path(path_type=Path), help="The pictures that the tree has labels of.")
@click.option(
    "--geometry",
    type=click.Choice(["squash", "center"]),
    help="What the tool looked at, which its files do not say: the whole picture, or its centre square.",
)
@click.option("--classes", type=click.IntRange(min=1), default=1000, show_default=True, help="Of the tree's labels.")
@click.option("--to", "tree", type=click.Choice(["tokenlabeling"]), help="Write TARGET as a tree of .pt files.")
@_JSON
def convert(
    source: str,
    target: str,
    layout: Any,
    images: Path | None,
    geometry: Any,
    classes: int,
    tree: str | None,
    as_json: bool,
) -> None:
    """Copy the labels of SOURCE to TARGET, whatever each of them is; run it again to go on.

    Between stores (a folder, labels.h5/, s3://bucket/labels.zarr) every value stays the same to the bit. With --from,
    SOURCE is a tree of other tools' .pt files, kept to the bit as logits; with --to, TARGET becomes such a tree, for
    trainers that read nothing else.
    """
    from annotate.progress import reporting

    if layout and tree:
        raise click.UsageError("give --from or --to, not both; convert to a store in between")
    if layout and (images is None or geometry is None):
        raise click.UsageError("--from needs --images and --geometry: the tree's files record neither")
    with reporting("converting") as reporter:
        if layout and images:
            from annotate.images import FolderImages
            from annotate.legacy import import_tree

            pictures = FolderImages(images)
            summary: Any = import_tree(
                Path(source),
                pictures,
                target,
                layout=layout,
                geometry=geometry,
                class_count=classes,
                report=reporter.report,
            )
        elif tree:
            from annotate.legacy import export_tree
            from storage import open_store

            summary = export_tree(open_store(source), Path(target), report=reporter.report)
        else:
            from storage import copy, open_store

            summary = copy(open_store(source), target, report=reporter.report)
    click.echo(json.dumps(summary.to_json()) if as_json else summary.describe())
    sys.exit(DONE if summary.complete else UNFINISHED)


_PUBLICATION = [
    click.option("--name", help="Of the label set. By default that of the store."),
    click.option("--source", required=True, help="The pictures that were labelled: their data set, or its address."),
    click.option("--licence", "--license", required=True, help="Of the labels: an SPDX identifier, or an address."),
    click.option("--url", help="Where the label set will be."),
]


def _with_publication(command: Any) -> Any:
    for option in reversed(_PUBLICATION):
        command = option(command)
    return command


def _publication(store: str, name: str | None, source: str, licence: str, url: str | None) -> Any:
    from storage import Publication

    return Publication(name=name or Path(store).name, source=source, licence=licence, url=url)


@main.command()
@_STORE
@_with_publication
def finalize(store: str, name: str | None, source: str, licence: str, url: str | None) -> None:
    """Make a finished STORE ready to be published.

    Consolidates its metadata, and writes a dataset card, a Croissant description, and a manifest with the SHA-256 of
    every object, which `sha256sum -c` and `annotate verify` check.
    """
    from storage import finalize as publish
    from storage import open_store

    count = publish(open_store(store, writable=True), _publication(store, name, source, licence, url))
    click.echo(f"{store} is ready to be published: its manifest names {count:,} objects")


@main.command()
@_STORE
@_with_publication
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the card here instead of printing it.")
def card(store: str, name: str | None, source: str, licence: str, url: str | None, output: Path | None) -> None:
    """Print a dataset card of STORE, in Markdown: its source, licence, and how it was made."""
    from storage import open_store
    from storage.publication import card as describe

    text = describe(open_store(store), _publication(store, name, source, licence, url))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror}") from error
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
