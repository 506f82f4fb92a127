"""Is docs/api.md what the docstrings say today?"""

from __future__ import annotations

from docs.api import PACKAGES, PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `make api`"


def test_no_default_shows_an_address_in_memory() -> None:
    assert " at 0x" not in page()


def test_every_package_is_on_the_page() -> None:
    assert [line.removeprefix("## ") for line in page().splitlines() if line.startswith("## ")] == [*PACKAGES]
