"""Does docs/dependencies.md name the oldest version of each package that setup.cfg allows?"""

from __future__ import annotations

import re

import numpy as np

from docs import oldest


def test_the_table_of_oldest_versions_is_that_of_setup_cfg() -> None:
    """A bound that was changed was not run: `make oldest` writes the table when its tests have passed."""
    page = oldest.PAGE.read_text().partition(oldest.TABLE)[2]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, flags=re.MULTILINE)
    assert [row[:3] for row in rows] == oldest.bounds()
    for name, _, bound, ran in rows:
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*(\+.*)?", ran), name
    assert len(rows) > 15


def test_the_section_is_made_of_what_is_installed() -> None:
    text = oldest.section()
    assert text.startswith(oldest.HEADING)
    assert re.search(rf"^\| numpy \| all \| [0-9.]+ \| {re.escape(np.__version__)} \|$", text, flags=re.MULTILINE)
