"""How does a command answer? With text or one JSON object, with files, and with an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import click

DONE, UNFINISHED, DAMAGED, UNREADABLE = 0, 3, 4, 5  # those of errors and interruptions are in cli.py

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


class Answer(Protocol):
    """What a command found, for a person and for a program."""

    def describe(self) -> str:
        """A few lines for a person."""
        ...

    def to_json(self) -> Mapping[str, Any]:
        """The same for a program, and all of it."""
        ...


class Outcome(Answer, Protocol):
    """What a command found that may have left something undone."""

    @property
    def complete(self) -> bool:
        """Nothing is left to do."""
        ...


def answer(found: Answer, as_json: bool, **about: object) -> None:
    """Print what was found. In JSON, `about` goes before it."""
    click.echo(json.dumps({**about, **found.to_json()}) if as_json else found.describe())


def exit_as(outcome: Outcome) -> NoReturn:
    """End with the exit code that says whether something is left to do."""
    sys.exit(DONE if outcome.complete else UNFINISHED)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """While a file is written.

    Raises:
        ClickException: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
