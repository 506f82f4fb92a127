"""What do `run` and `plan` take beside the recipe? The temperature, the classes stored, and how the work is divided."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])

_OPTIONS = [
    click.option("--temperature", type=float, default=1.0, metavar="T", help="Temperature, from `annotate calibrate`."),
    click.option(
        "-k", "--top-k", "k", type=click.IntRange(min=1), default=5, help="Classes stored at each location: 5."
    ),
    click.option("--workers", type=click.IntRange(min=1), help="Default: one for each GPU or core."),
    click.option("--rows-per-shard", type=click.IntRange(min=1), hidden=True),
    click.option("--compile/--no-compile", "compiled", default=None, hidden=True),
]


def labelling_options(command: Command) -> Command:
    """Add what `run` and `plan` take beside the recipe."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
