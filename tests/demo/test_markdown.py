"""Is what stands between two marks of a page replaced, and nothing else?"""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.markdown import replace_between


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->old<!-- b -->\nafter é\n", encoding="utf-8")
    replace_between(page, "<!-- a -->", "<!-- b -->", "\nnew\n")
    assert page.read_text(encoding="utf-8") == "before\n<!-- a -->\nnew\n<!-- b -->\nafter é\n"


@pytest.mark.parametrize("text", ["no marks", "<!-- a --> and text", "text and <!-- b -->", "<!-- b --> <!-- a -->"])
def test_a_page_without_both_marks_in_order_is_left_as_it_is(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=r"page.md lacks the marks .*add <!-- a --> and after it <!-- b -->"):
        replace_between(page, "<!-- a -->", "<!-- b -->", "new")
    assert page.read_text() == text
