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
        """All of it, for a program."""
        ...


class WorkAnswer(Answer, Protocol):
    """What a command found that may have left something undone."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        ...


def answer(found: Answer, as_json: bool, **about: object) -> None:
    """Print what was found. In JSON, the fields of `about` come first."""
    click.echo(json.dumps({**about, **found.to_json()}) if as_json else found.describe())


def exit_as(found: WorkAnswer) -> NoReturn:
    """End with the exit code that says whether something is left to do."""
    sys.exit(DONE if found.complete else UNFINISHED)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of writing a file into one message.

    Raises:
        ClickException: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
