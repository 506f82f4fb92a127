"""Which options do `finalize` and `card` share? The labels' name, the source of their pictures, and their licence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from storage import Publication

Command = TypeVar("Command", bound=Callable[..., object])

_OPTIONS = [
    click.option("--name", help="Name of the label set. Default: the store's."),
    click.option("--source", required=True, help="Dataset of the labelled pictures: its name or URL."),
    click.option("--licence", "--license", required=True, help="Licence of the labels: an SPDX identifier or a URL."),
    click.option("--url", help="URL where the label set will be published."),
]


def publication_options(command: Command) -> Command:
    """Add the options that `finalize` and `card` share."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def publication_of(store: str, name: str | None, source: str, licence: str, url: str | None) -> Publication:
    """The publication of a store, from the options."""
    from storage import Publication

    return Publication(name=name or Path(store).name, source=source, licence=licence, url=url)
