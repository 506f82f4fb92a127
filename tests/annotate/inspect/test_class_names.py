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


def test_names_are_those_of_imagenet_as_timm_has_them(labels: LabelMap, tmp_path: Path) -> None:
    for name, count, first in (
        ("imagenet-1k", 1000, "tench, Tinca tinca"),
        ("imagenet-12k", 11821, None),
        ("imagenet-21k", 21843, None),
    ):
        names = read_names(Path(name), count)
        assert len(names) == count
        assert first in (None, names[0])
    with pytest.raises(AnnotateError, match="imagenet-1k: it has 1,000 names, but there are 12 classes"):
        Names.of(a_store(tmp_path / "labels.zarr", labels), Path("imagenet-1k"))
    with pytest.raises(
        AnnotateError, match="but there are 21843 classes.*; timm calls those of 21,843 classes imagenet-21k"
    ):
        read_names(Path("imagenet-12k"), 21843)
    with pytest.raises(AnnotateError, match="neither a file of this name nor a list .*imagenet-12k"):
        read_names(Path("imagenet-5k"))


def test_a_file_is_taken_for_what_it_is_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet-1k").write_text("one\ntwo\n")
    assert read_names(Path("imagenet-1k"), 2) == ("one", "two")


def test_a_short_name_is_the_first_synonym() -> None:
    names = Names(3, ("tabby, tabby cat", "crane", ", odd"))
    assert [names.short(n) for n in range(3)] == ["tabby", "crane", ", odd"]
    assert Names(3).short(2) == "2"
