"""How are tables written in Markdown, and into a page? The demo and the benchmarks use it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, aligned: bool = False) -> str:
    """The table, with a line break at its end.

    Args:
        head: heading of each column.
        rows: rows, each with as many cells.
        aligned: for a terminal: the first column is text and the others are figures, all padded to one width.
    """
    rule = ["---"] * len(head)
    if aligned:
        first, *others = (max(map(len, column)) for column in zip(head, *rows, strict=True))
        rule = [f":{'-' * (first - 1)}", *(f"{'-' * (width - 1)}:" for width in others)]
        head, *rows = (
            [row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))]
            for row in (head, *rows)
        )
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))


def section(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], notes: str) -> str:
    """A heading, an aligned table of figures, and notes on it."""
    return "\n".join([f"## {title}", "", table(head, rows, aligned=True), textwrap.fill(notes, 120), ""])


def replace_between(page: Path, first: str, last: str, text: str) -> None:
    """Replace what a page has between two marks; both stay.

    Raises:
        ValueError: the page lacks the marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"{page} lacks the marks for tables; add {first.strip()} and after it {last.strip()}")
    page.write_text(f"{before}{first}{text}{last}{after}", encoding="utf-8")
