"""Do two stores differ where their labels differ?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from annotate.errors import AnnotateError
from annotate.inspect import (
    compare,
    comparison_page,
    comparison_sheet,
)
from storage import Box, LabelMap, LabelStore
from tests.annotate.inspect.stores import COUNT, NAMES, a_store, quadrant_label
from tests.conftest import dense
from tests.labels import random_labels


def test_a_store_agrees_with_itself_and_differs_from_another(
    store: LabelStore, labels: LabelMap, tmp_path: Path
) -> None:
    same = compare(store, store)
    assert (same.pictures, same.agreement, same.divergence, same.within) == (10, 1.0, 0.0, (1.0, 1.0, 1.0))
    swapped = replace(labels, classes=labels.classes[..., [1, 0, 2]])
    other = a_store(tmp_path / "other.zarr", swapped)
    found = compare(store, other)
    assert found.agreement == 0
    divergence, second = [], []
    for row, y, x in np.ndindex(10, *labels.grid):
        p = {int(c): float(v) for c, v in zip(store[row].classes[y, x], store[row].scores[y, x], strict=True) if v}
        q = {int(c): float(v) for c, v in zip(other[row].classes[y, x], other[row].scores[y, x], strict=True) if v}
        pairs = [(v, q.get(c, 0.0)) for c, v in p.items()]
        pairs.append((1 - sum(p.values()), 1 - sum(b for _, b in pairs)))
        pairs = [(max(a, 1e-6), max(b, 1e-6)) for a, b in pairs]
        totals = [sum(column) for column in zip(*pairs, strict=True)]
        divergence.append(sum(a / totals[0] * np.log(a / totals[0] * totals[1] / b) for a, b in pairs))
        second.append(max(p, key=p.get) in q)
    assert found.divergence == pytest.approx(np.mean(divergence), rel=1e-4)
    assert found.within[1] == pytest.approx(np.mean(second))
    assert found.most[0][1] >= found.most[-1][1]
    assert "differ most" in found.describe()


def test_pictures_meet_by_key_and_locations_by_place(tmp_path: Path) -> None:
    """A store in another order, on another grid, of another part of the picture."""
    size = (90, 90)
    mine = LabelMap.stack([quadrant_label(Box.whole(), size, (4, 4))] * 3)
    theirs = LabelMap.stack([quadrant_label(Box(-0.1, -0.1, 1.1, 1.2), size, (14, 14))] * 2)
    first = a_store(tmp_path / "a.zarr", mine, keys=["a", "b", "c"])
    second = a_store(tmp_path / "b.zarr", theirs, keys=["c", "b"])
    found = compare(first, second)
    assert (found.pictures, found.missing, found.agreement) == (2, 1, 1.0)
    with pytest.raises(AnnotateError, match="no labelled picture in common"):
        compare(first, a_store(tmp_path / "c.zarr", theirs, keys=["x", "y"]))
    others = tuple(reversed(NAMES))
    with pytest.raises(AnnotateError, match="they have the same names in another order, from class 0 on. Only labels"):
        compare(first, a_store(tmp_path / "d.zarr", theirs, keys=["c", "b"], class_names=others, target_names=others))


def test_stores_of_other_names_say_which_they_share_and_what_to_do(labels: LabelMap, tmp_path: Path) -> None:
    first = a_store(tmp_path / "a.zarr", labels)
    others = (*NAMES[:10], "cat", "dog")
    second = a_store(tmp_path / "b.zarr", labels, class_names=others)
    with pytest.raises(AnnotateError) as refused:
        compare(first, second)
    said = str(refused.value)
    assert "of 12 and 12 classes they have 10 names that both have" in said
    assert "a.zarr alone has 'class 10', 'class 11', " in said
    assert "b.zarr alone 'cat', 'dog'. " in said
    assert "label one of them again with the classifier or the vocabulary of the other" in said
    assert "`annotate names STORE FILE`" in said
    third = a_store(tmp_path / "c.zarr", labels, class_names=(*NAMES, "cat"), class_count=13)
    with pytest.raises(AnnotateError, match="a.zarr alone has none, .*c.zarr alone 'cat'"):
        compare(first, third)
    unnamed = a_store(tmp_path / "d.zarr", labels, class_names=None, class_count=13)
    with pytest.raises(AnnotateError, match="has 12 classes and .* 13; only labels of the same classes"):
        compare(first, unnamed)


def test_classes_are_ordered_by_the_probability_on_which_the_stores_disagree(
    store: LabelStore, labels: LabelMap, tmp_path: Path
) -> None:
    other = a_store(tmp_path / "other.zarr", random_labels(np.random.default_rng(9), 10, class_count=COUNT))
    found = compare(store, other)
    difference = np.mean([np.abs(dense(store[r], COUNT) - dense(other[r], COUNT)).mean((1, 2)) for r in range(10)], 0)
    order = np.argsort(-difference, kind="stable").tolist()
    assert [name for name, *_ in found.by_class] == [NAMES[n] for n in order]
    assert [mass for *_, mass in found.by_class] == pytest.approx(difference[order].tolist(), abs=1e-6)
    assert compare(store, store).by_class == ()
    first, *_ = found.to_json()["by_class"]
    assert first.keys() == {"class", "agreement", "locations", "disagreement"}
    assert f"disagree on  {found.by_class[0][3]:.4f}  {found.by_class[0][0]}: best at" in found.describe()


def test_a_class_of_two_locations_is_no_longer_first_and_one_that_only_the_second_has_counts(tmp_path: Path) -> None:
    """Class 3 is best at one location of the first store, and never there in the second; class 0 is 5 in half of it."""
    mine = quadrant_label(Box.whole(), (80, 80))
    mine.classes[:] = 0
    theirs = replace(mine, classes=mine.classes.copy())
    mine.classes[0, 0], theirs.classes[4:] = 3, 5
    stores = [
        a_store(tmp_path / f"{n}.zarr", LabelMap.stack([label]), keys=["a"]) for n, label in enumerate((mine, theirs))
    ]
    found = compare(*stores).by_class
    assert [(name, round(mass, 3)) for name, _, _, mass in found] == [
        ("class 0", round(33 / 64, 3)), ("class 5", 0.5), ("class 3", round(1 / 64, 3))
    ]  # fmt: skip
    assert found[1][1:3] == (None, 0)
    assert "class 5: best at the second only" in compare(*stores).describe()


def test_names_come_from_whichever_store_has_them(store: LabelStore, labels: LabelMap, tmp_path: Path) -> None:
    swapped = replace(labels, classes=labels.classes[..., [1, 0, 2]])
    nameless = a_store(tmp_path / "other.zarr", swapped, class_names=None)
    for pair in ((store, nameless), (nameless, store)):
        assert compare(*pair).by_class[0][0].startswith("class ")


def test_a_class_has_one_colour_in_both_labels_of_a_picture(tmp_path: Path) -> None:
    """Where the two have the same class, both panels are painted alike; the second has another there too."""
    mine = quadrant_label(Box.whole(), (80, 80))
    theirs = replace(mine, classes=mine.classes.copy())
    theirs.classes[:, :2] = 10  # the colour of class 0, by its number
    stores = [
        a_store(tmp_path / f"{n}.zarr", LabelMap.stack([label]), keys=["a"]) for n, label in enumerate((mine, theirs))
    ]
    sheet = np.asarray(comparison_sheet(*stores, lambda key: np.full((80, 80, 3), 90, np.uint8), ["a"]))
    first, second = (sheet[56 : 56 + 176, 10 + n * 182 :][:, :176] for n in (1, 2))
    same = first[:, 60:] == second[:, 60:]
    assert same.all()
    assert (first[:, :30] != second[:, :30]).any()


def test_a_comparison_is_a_picture_and_a_page(store: LabelStore, labels: LabelMap) -> None:
    def read(key: str) -> np.ndarray:
        height, width = labels.sizes[int(key.removesuffix(".jpg"))].tolist()
        return np.full((height, width, 3), 90, np.uint8)

    found = compare(store, store)
    sheet = comparison_sheet(store, store, read, ["1.jpg", "2.jpg"])
    assert sheet.width > 500
    page = comparison_page(found, sheet, "<script>alert(1)</script>", "b")
    assert "<script" not in page
    assert "data:image/png;base64," in page
