"""Which options make a recipe? The networks that label the pictures, and how they are used."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from annotate.commands.options.settings import WRITTEN, read_settings

if TYPE_CHECKING:
    from annotate.model.elsewhere.dense_answer import AnyNetwork
    from annotate.model.elsewhere.vocabulary import Vocabulary
    from annotate.model.recipe import Recipe

Command = TypeVar("Command", bound=Callable[..., object])

MORE = """\b
More, also for the file (docs/annotators.md): --model-kwarg KEY=VALUE,
--mean, --std R,G,B, --interpolation FILTER, --exif ignore|apply, --white N,
--grid HxW, --vocabulary FILE, --threshold COSINE, --batch-size,
--rows-per-shard, --precision, --[no-]compile, --names FILE, --allow-global."""


def _size(value: Any, name: str = "input_sizes") -> tuple[int, int]:
    """The (height, width) of "224", 224 or "192x256"."""
    parts = str(value).lower().split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts) or len(parts) > 2:
        raise _malformed(name, value)
    return int(parts[0]), int(parts[-1])


def _grid(value: Any) -> tuple[int, int]:
    """The (rows, columns) of "14", 14 or "14x18"."""
    return _size(value, "grid")


def _scales(value: Any) -> tuple[float, ...]:
    """The numbers of "0.8,1.0", of a list, or of one number."""
    try:
        return tuple(map(float, value if isinstance(value, list | tuple) else str(value).split(",")))
    except (TypeError, ValueError):
        raise _malformed("scales", value) from None


def _colours(name: str) -> Callable[[Any], tuple[float, ...]]:
    """What reads the three numbers of "0.5,0.5,0.5", or of a list."""

    def read(value: Any) -> tuple[float, ...]:
        try:
            found = tuple(map(float, value if isinstance(value, list | tuple) else str(value).split(",")))
        except (TypeError, ValueError):
            raise _malformed(name, value) from None
        if len(found) != 3:
            raise _malformed(name, value)
        return found

    return read


def _threshold(value: Any) -> float | Literal["own"]:
    """The cosine of "0.2", or "own"."""
    if value == "own":
        return "own"
    try:
        return float(value)
    except ValueError:
        raise _malformed("threshold", value) from None


def _model_kwarg(text: str) -> tuple[str, Any]:
    """Key and value of "output_stride=8"; a value that is not a Python literal is text."""
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise _malformed("model_kwargs", text)
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


def _malformed(name: str, value: Any) -> click.BadParameter:
    return click.BadParameter(f"give {WRITTEN[name][1]}, not {value!r}")


def _read_configs(ctx: click.Context, _: click.Parameter, paths: tuple[Path, ...]) -> None:
    """Take the options that are not given from TOML files; where two files have the same one, the last file counts.

    All commands accept every option of `annotate run` in a file, so that one file serves several commands.
    """
    commands = [ctx.command]
    if ctx.parent is not None and isinstance(ctx.parent.command, click.Group):
        run = ctx.parent.command.get_command(ctx.parent, "run")
        commands = [*filter(None, [run]), ctx.command]
    ctx.default_map = {name: value for path in paths for name, value in read_settings(path, commands).items()}


_OPTIONS = [
    click.option(
        "--model",
        "models",
        multiple=True,
        metavar="NAME",
        help="timm network, or hf:NAME. Repeat it to average.",
    ),
    click.option(
        "--checkpoint",
        "checkpoints",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File of weights, one for each --model.",
    ),
    click.option("--pretrained", is_flag=True, help="Use timm's weights: the default without --checkpoint."),
    click.option(
        "--input-size",
        "input_sizes",
        multiple=True,
        type=_size,
        metavar="N|HxW",
        help="Input size in pixels. Default: the network's own.",
    ),
    click.option(
        "--preprocess",
        type=click.Choice(["squash", "letterbox", "center"]),
        default="squash",
        metavar="MODE",
        help="Fit pictures to the input: squash, letterbox (pad) or center (crop).",
    ),
    click.option(
        "--head",
        type=click.Choice(["local", "frozen"]),
        default="local",
        metavar="HEAD",
        help="Classify locations by the local or the frozen head (docs/annotators.md).",
    ),
    click.option("--flip/--no-flip", help="Average with the mirror image."),
    click.option(
        "--scales",
        type=_scales,
        default="1.0",
        metavar="S,S,…",
        help="Average over input sizes times S.",
    ),
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_read_configs,
        multiple=True,
        help="Read options from a TOML file. May be repeated.",
    ),
    click.option("--model-kwarg", "model_kwargs", multiple=True, type=_model_kwarg, metavar="KEY=VALUE", hidden=True),
    click.option("--mean", "means", multiple=True, type=_colours("means"), metavar="R,G,B", hidden=True),
    click.option("--std", "stds", multiple=True, type=_colours("stds"), metavar="R,G,B", hidden=True),
    click.option("--interpolation", "interpolations", multiple=True, metavar="FILTER", hidden=True),
    click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", hidden=True),
    click.option("--exif", type=click.Choice(["ignore", "apply"]), default="ignore", hidden=True),
    click.option("--white", type=click.FloatRange(min=0, min_open=True), hidden=True),
    click.option("--grid", type=_grid, metavar="HxW", hidden=True),
    click.option("--vocabulary", type=click.Path(path_type=Path), metavar="FILE", hidden=True),
    click.option("--threshold", type=_threshold, metavar="COSINE", hidden=True),
    click.option("--batch-size", type=click.IntRange(min=1), hidden=True),
]


def recipe_options(command: Command) -> Command:
    """Add the options by which `run`, `plan` and `calibrate` make a recipe."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def recipe_of(
    *,
    models: tuple[str, ...],
    checkpoints: tuple[Path, ...],
    pretrained: bool,
    input_sizes: tuple[tuple[int, int], ...],
    model_kwargs: tuple[tuple[str, Any], ...],
    means: tuple[tuple[float, ...], ...],
    stds: tuple[tuple[float, ...], ...],
    interpolations: tuple[str, ...],
    vocabulary: Path | None = None,
    threshold: float | Literal["own"] | None = None,
    **others: Any,
) -> Recipe:
    """The recipe of the options.

    Raises:
        UsageError: the options name no network, or contradict each other.
    """
    from annotate.model.recipe import Recipe

    of_each = {
        "input_size": (input_sizes, "--input-size"),
        "mean": (means, "--mean"),
        "std": (stds, "--std"),
        "interpolation": (interpolations, "--interpolation"),
    }
    words = None
    if vocabulary is not None:
        from annotate.model.elsewhere.vocabulary import Vocabulary

        words = Vocabulary.read(vocabulary, threshold)
    elif threshold is not None:
        raise click.UsageError("--threshold is of a vocabulary's background: give --vocabulary FILE with it")
    return Recipe(networks=_networks(models, checkpoints, pretrained, of_each, model_kwargs, words), **others)


def _networks(
    models: tuple[str, ...],
    checkpoints: tuple[Path, ...],
    pretrained: bool,
    of_each: dict[str, tuple[tuple[Any, ...], str]],
    model_kwargs: tuple[tuple[str, Any], ...],
    vocabulary: Vocabulary | None,
) -> tuple[AnyNetwork, ...]:
    """One network for each --model; `of_each` has the arguments that one value or several give, and their options."""
    from annotate.model.recipe import network_of

    if not models:
        raise click.UsageError("Missing option '--model': the name of a timm network, for example dm_nfnet_f6.dm_in1k")
    if pretrained and checkpoints:
        raise click.UsageError(
            "--pretrained asks for timm's weights, and --checkpoint for other weights: give only one of the two"
        )
    files = _for_each(models, checkpoints or (None,), "--checkpoint", shared=not checkpoints)
    values = {
        name: _for_each(models, given or (None,), option, shared=True) for name, (given, option) in of_each.items()
    }
    return tuple(
        network_of(
            model,
            checkpoint=file,
            model_kwargs=dict(model_kwargs),
            vocabulary=vocabulary,
            **{name: given[number] for name, given in values.items()},
        )
        for number, (model, file) in enumerate(zip(models, files, strict=True))
    )


def _for_each(models: tuple[str, ...], values: tuple[Any, ...], option: str, *, shared: bool) -> tuple[Any, ...]:
    """One value for each model. Where a value may be shared, a single one is used for all."""
    if len(values) == 1 and shared:
        return values * len(models)
    if len(values) != len(models):
        raise click.UsageError(
            f"got {len(values)} {option} for {len(models)} --model; give one {option} for each --model, in order"
        )
    return values
