"""Do the figures in words say each thing once?"""

from __future__ import annotations

import pytest

from annotate.inspect.statistics import _heads


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (None, "not recorded"),
        ("exact", "exact"),
        ("approximate (7 %)", "approximate (7 %)"),
        ("exact, exact, exact", "exact for 3 networks"),
        ("exact, approximate (7 %), exact", "exact for 2 networks, approximate (7 %) for 1 network"),
    ],
)
def test_the_dense_heads_of_an_ensemble_are_counted(stored: str | None, words: str) -> None:
    assert _heads(stored) == words
