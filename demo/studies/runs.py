"""Which runs of a study are left, and how are they done and stored? A line of JSON for each that has finished."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

Run = TypeVar("Run")  # a frozen dataclass of names and numbers
Found = TypeVar("Found")
Figures = dict[str, Any]
"""What a run found: JSON values by name."""


def options(doc: str | None, *, seeds: int, seeds_of: str = "students of each kind") -> argparse.Namespace:
    """The options that all studies have, of this command line: `seeds`, and `report` for the report alone.

    Args:
        doc: the docstring of the study.
        seeds: students of each kind, if nothing else is asked for.
        seeds_of: what the seeds are of, for the help.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds, help=f"{seeds_of} (default: %(default)s)")
    parser.add_argument("--report", action="store_true", help="write the report from what is in docs/ alone")
    found = parser.parse_args()
    if found.seeds < 2:
        parser.error("--seeds must be at least 2: one student of each kind shows no spread")
    return found


def pool() -> ProcessPoolExecutor:
    """Two processes."""
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


def do_missing(
    todo: Sequence[Run], known: Collection[Run], learn: Callable[[Run], Found], keep: Callable[[Run, Found], None]
) -> None:
    """Do the runs that are not known yet, two at a time; each is kept when it ends.

    Args:
        todo: all runs.
        known: those that have finished.
        learn: does a run, in another process.
        keep: stores what it found.
    """
    left = [run for run in todo if run not in known]
    if not left:
        return
    with pool() as workers, tqdm(total=len(todo), initial=len(todo) - len(left), unit=" students", disable=None) as bar:
        running = {workers.submit(learn, run): run for run in left}
        try:
            for done in as_completed(running):
                keep(running[done], done.result())
                bar.update()
        finally:  # if one fails, the others are not started
            workers.shutdown(cancel_futures=True)


def do(lines: Path, todo: Sequence[Run], learn: Callable[[Run], Figures]) -> dict[Run, Figures]:
    """What all runs found, in their order; those that the file of lines does not have yet are done now."""
    kind = type(todo[0])

    def keep(run: Run, found: Figures) -> None:
        with lines.open("a") as file:
            file.write(_line(run, found) + "\n")

    do_missing(todo, finished(lines, kind), learn, keep)
    known = finished(lines, kind)
    return {run: known[run] for run in todo}


def finished(lines: Path, kind: type[Run]) -> dict[Run, Figures]:
    """The runs of a file of lines, and what they found."""
    return _read(map(json.loads, lines.read_text().splitlines()), kind) if lines.exists() else {}


def write(path: Path, found: Mapping[Run, Figures]) -> None:
    """Write all runs as JSON, a line for each."""
    path.write_text('{"runs": [\n' + ",\n".join(_line(run, figures) for run, figures in found.items()) + "\n]}\n")


def read(path: Path, kind: type[Run]) -> dict[Run, Figures]:
    """The runs of a JSON file, and what they found."""
    return _read(json.loads(path.read_text())["runs"], kind)


def _line(run: Any, found: Figures) -> str:
    return json.dumps(asdict(run) | found, ensure_ascii=False, allow_nan=False)


def _read(values: Iterable[dict[str, Any]], kind: Any) -> dict[Any, Figures]:
    names = [field.name for field in fields(kind)]
    return {kind(*(line.pop(name) for name in names)): line for line in values}
