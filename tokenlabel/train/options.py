"""How do the fields of a frozen dataclass become the options of a program, and the keys of its TOML files?"""

from __future__ import annotations

import argparse
import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, fields
from typing import Any

Ranges = Sequence[tuple[tuple[str, ...], float, float]]  # names, and the least and the largest value of each


def option(default: Any, text: str, *, number: bool = False) -> Any:
    """A field with this default, and what its option's help says.

    Args:
        default: its value where nothing else is given; its type is that of the option.
        text: the help.
        number: whether files may have a whole number where the default is a text.
    """
    return field(default=default, metadata={"text": text, "number": number})


def check(settings: Any, choices: Mapping[str, Iterable[str]], ranges: Ranges) -> None:
    """Check settings against what each may be.

    Raises:
        ValueError: naming the setting.
    """
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(settings, name)!r}")
    for names, least, most in ranges:
        for name in names:
            if not least <= getattr(settings, name) <= most:
                raise ValueError(f"{name} must be from {least:g} to {most:g}, not {getattr(settings, name)}")


def add_options(parser: argparse.ArgumentParser, kind: Any) -> None:
    """Add an option for each field of the dataclass."""
    for setting in fields(kind):
        action: dict[str, Any] = {"type": type(setting.default)}
        if isinstance(setting.default, bool):
            action = {"action": argparse.BooleanOptionalAction}
        name = "--" + setting.name.replace("_", "-")
        # An option that was not given is absent: then a file's setting is used, not the default.
        parser.add_argument(name, help=setting.metadata["text"], default=argparse.SUPPRESS, **action)


def read_file(path: Any, kind: Any, config: str) -> dict[str, Any]:
    """The settings in a TOML file; a whole number is taken for a float, and for a text that may be a number.

    Args:
        path: the file, a `Path` or a resource.
        kind: the dataclass.
        config: what the file is called in errors.

    Raises:
        OSError: there is no such file.
        ValueError: it is no TOML, or has what is not a setting, or a value of another type.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{config} is not valid TOML: {error}") from error
    defaults = {setting.name: setting for setting in fields(kind)}
    for name, value in values.items():
        if name not in defaults:
            near = difflib.get_close_matches(name, defaults, 1)
            advice = f"did you mean {near[0]!r}?" if near else "--help lists all settings"
            raise ValueError(f"{config} has {name!r}, which is not a setting; {advice}")
        wanted: type = type(defaults[name].default)
        if type(value) is int and (wanted is float or defaults[name].metadata.get("number")):
            values[name] = wanted(value)
        elif type(value) is not wanted:
            raise ValueError(f"{config}: {name} must be of the type {wanted.__name__}, not {value!r}")
    return values
