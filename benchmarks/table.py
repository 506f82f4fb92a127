"""How are figures shown? As Markdown tables that align in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: str) -> str:
    """A heading, a table whose first column is text and whose others are figures, and notes."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    rule = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    lines = []
    for text, *figures in (columns, rule, *rows):
        cells = [
            text.ljust(widths[0]),
            *(figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([f"## {title}", "", *lines, "", textwrap.fill(notes, 120), ""])
