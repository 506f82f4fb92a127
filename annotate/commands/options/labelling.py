"""Which options do `run` and `plan` share besides the recipe? Temperature, classes stored, and division of the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])

_OPTIONS = [
    click.option(
        "--temperature", type=float, default=1.0, metavar="T", help="Divide logits by T; `calibrate` fits it."
    ),
    click.option(
        "-k",
        "--top-k",
        "k",
        type=click.IntRange(min=1),
        default=5,
        metavar="N",
        help="Store N classes per location.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Workers. Default: one for each GPU or core.",
    ),
    click.option("--rows-per-shard", type=click.IntRange(min=1), hidden=True),
    click.option("--compile/--no-compile", "compiled", default=None, hidden=True),
]


def labelling_options(command: Command) -> Command:
    """Add the options that `run` and `plan` share besides the recipe."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
