"""What may a settings file say? The options of the commands, by their long names; each value is checked."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

_OF_ONE_CALL = {"config", "as_json", "part", "failures", "names", "assume", "background", "with_fidelity"}
# Options with a notation of their own: the types that they can have in a file, and the notation in words.
WRITTEN: dict[str, tuple[tuple[type, ...], str]] = {
    "input_sizes": ((int, str), "a number of pixels, for example 224, or height and width, for example 192x256"),
    "grid": ((int, str), "rows and columns of the labels, for example 14x14"),
    "scales": ((int, float, str, list), "numbers with commas between them, for example 0.8,1.0,1.2"),
    "means": ((str, list), "three numbers, for example 0.485,0.456,0.406"),
    "stds": ((str, list), "three numbers, for example 0.229,0.224,0.225"),
    "threshold": ((int, float, str), "a cosine from -1 to 1, for example 0.21, or own"),
    "model_kwargs": ((str,), "KEY=VALUE, for example output_stride=8"),
}


def read_settings(path: Path, commands: Iterable[click.Command]) -> dict[str, Any]:
    """The options in a TOML file, by what click calls them: their long names, with - or _, and their values.

    Args:
        path: the file.
        commands: their options may be in the file. One file can be given to several commands; each takes what it uses.

    Raises:
        UsageError: the file cannot be read, or has an unknown setting, or a value of the wrong type.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"cannot read the settings in {path}: {error}") from error
    known = {name: option for command in commands for name, option in _settings(command).items()}
    if unknown := [name for name in values if name.replace("_", "-") not in known]:
        raise click.UsageError(
            f"cannot use the settings in {path}: unknown setting {', '.join(unknown)}. Settings are named like the "
            f"options of `annotate run`: {', '.join(sorted(known))}"
        )
    found = {}
    for name, value in values.items():
        option = known[name.replace("_", "-")]
        several = _several(option, value)
        if not all(_is_valid(option, one) for one in several):
            raise click.UsageError(
                f"cannot use the settings in {path}: {name} = {json.dumps(value, default=str, ensure_ascii=False)} is "
                f"not valid; expected: {_expected(option)[1]}{', or a list of these' if option.multiple else ''}"
            )
        found[str(option.name)] = several if option.multiple else value
    return found


def _settings(command: click.Command) -> dict[str, click.Option]:
    """The options of a command that a file can set, by their long names."""
    return {
        name.removeprefix("--"): option
        for option in command.params
        for name in option.opts
        if isinstance(option, click.Option) and name.startswith("--") and option.name not in _OF_ONE_CALL
    }


def _several(option: click.Option, value: Any) -> list[Any]:
    """The values of an option that may be repeated. A list of numbers is one value where a value is such a list."""
    is_one = option.name in ("means", "stds") and not (
        isinstance(value, list) and all(isinstance(each, str | list) for each in value)
    )
    return value if option.multiple and isinstance(value, list) and not is_one else [value]


def _is_valid(option: click.Option, value: Any) -> bool:
    if type(value) not in _expected(option)[0]:
        return False
    try:
        option.type.convert(value, option, None)
    except click.BadParameter:
        return False
    return True


def _expected(option: click.Option) -> tuple[tuple[type, ...], str]:
    """The types of TOML that an option can have, and its values in words."""
    kind = option.type
    if option.name in WRITTEN:
        return WRITTEN[option.name]
    if option.is_flag:
        return (bool,), "true or false"
    if isinstance(kind, click.Choice):
        return (str,), f"one of {', '.join(map(json.dumps, kind.choices))}"
    if isinstance(kind, click.IntRange):
        return (int,), f"a whole number, {kind.min} or more"
    return ((int, float), "a number") if isinstance(kind, click.FloatRange) or kind is click.FLOAT else ((str,), "text")
