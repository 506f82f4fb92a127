"""Are classes found by the names that people give them?"""

from __future__ import annotations

from pathlib import Path

import pytest

from annotate.errors import AnnotateError
from annotate.inspect import (
    Names,
    read_names,
)
from storage import LabelMap
from tests.annotate.inspect.stores import COUNT, a_store


def test_names_come_from_a_file_where_the_store_has_none(labels: LabelMap, tmp_path: Path) -> None:
    store = a_store(tmp_path / "labels.zarr", labels, class_names=None, target_names=None)
    (tmp_path / "names.txt").write_text("\n".join(f"thing {n}" for n in range(COUNT)))
    names = Names.of(store, tmp_path / "names.txt")
    assert (names[3], names.number("thing 3"), names.number("3"), len(names)) == ("thing 3", 3, 3, COUNT)
    with pytest.raises(AnnotateError, match="no class 'thing 99' .* did you mean .*'thing 9'"):
        names.number("thing 99")
    (tmp_path / "names.txt").write_text("one\n")
    with pytest.raises(AnnotateError, match="has 1 lines, but there are 12 classes"):
        Names.of(store, tmp_path / "names.txt")
    with pytest.raises(AnnotateError, match="cannot read the class names"):
        read_names(tmp_path / "none.txt")


def test_classes_are_found_by_a_part_of_their_name_and_not_guessed(labels: LabelMap, tmp_path: Path) -> None:
    """As timm names those of ImageNet."""
    known = ("tabby, tabby cat", "crane", "crane", "7", *(f"thing {n}" for n in range(8)))
    names = Names(COUNT, known)
    assert (names.number("tabby cat"), names.number("Tabby"), names.number("0"), names.number("7")) == (0, 0, 0, 3)
    with pytest.raises(AnnotateError, match="2 classes are called 'crane'; give the number of one of them: 1, 2"):
        names.number("crane")
