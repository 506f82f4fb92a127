"""Which store and which pictures does a command read, and how does it name the classes?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem

from annotate.commands.progress import note

if TYPE_CHECKING:
    from storage import LabelStore

Command = TypeVar("Command", bound=Callable[..., object])

names_option = click.option(
    "--names",
    type=click.Path(path_type=Path),
    help="Text file of class names, one a line; or imagenet-1k, imagenet-12k, imagenet-21k. Default: the store's.",
)


def address(name: str, *, nargs: int = 1) -> Callable[[Command], Command]:
    """An argument that is a path or a URL, or so many; -1 for any number. Shells complete it as a path."""
    return click.argument(name, nargs=nargs, shell_complete=complete_paths)


def complete_paths(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete an argument as a path."""
    return [CompletionItem(incomplete, type="file")]


def open_partial(address: str) -> LabelStore:
    """Open a store, and say on stderr how many of its pictures have no label yet: an answer leaves them out."""
    from storage import open_store

    store = open_store(address)
    if pending := sum(map(len, store.pending())):
        note(f"{store.address} is unfinished: {pending:,} pictures are not labelled yet, and are left out")
    return store
