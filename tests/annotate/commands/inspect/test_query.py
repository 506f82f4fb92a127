"""Are the pictures of a class found, those with most of it first?"""

from __future__ import annotations

import json
from pathlib import Path


def test_stores_are_queried(command, store: Path) -> None:
    found = json.loads(command("query", store, "--class", "3", "--json").stdout)
    assert [one["area"] for one in found] == sorted((one["area"] for one in found), reverse=True)
    assert len(command("query", store, "--class", "3", "--min-area", 0.2).stdout.splitlines()) == sum(
        one["area"] >= 0.2 for one in found
    )
