"""Which options do `run` and `plan` share besides the recipe? Temperature, classes stored, and division of the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])

temperature_option = click.option(
    "--temperature", type=float, default=1.0, metavar="T", help="Divide logits by T; `calibrate` fits it."
)


def top_k_option(what: str) -> Callable[[Command], Command]:
    """How many classes of a location are kept; `what` is done with them."""
    return click.option(
        "-k",
        "--top-k",
        "k",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"{what} N classes per location. Default: at most 5.",
    )


_OPTIONS = [
    temperature_option,
    top_k_option("Store"),
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
