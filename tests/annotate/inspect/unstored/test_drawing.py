"""Are labels that are in no store drawn where they belong, in their own colours?"""

from __future__ import annotations

import numpy as np
import pytest

from annotate.class_names import Names
from annotate.inspect import Labelled, labels_sheet, labels_strip, mosaics_sheet
from annotate.inspect.overlay import heat
from annotate.locality import Example
from storage import LabelMap

NAMES = Names(4, ["cat", "dog", "cow", "hen"])


@pytest.fixture
def label() -> LabelMap:
    """Four quarters, each of a class of its own."""
    return LabelMap(
        classes=np.array([[[0], [1]], [[2], [3]]], np.uint16),
        scores=np.ones((2, 2, 1), np.float32),
        boxes=np.array([0, 0, 1, 1], np.float32),
        sizes=np.array([80, 80], np.uint32),
        status=np.array(0, np.uint8),
    )


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}


def test_a_terminal_shows_each_picture_beside_its_four_classes(label: LabelMap) -> None:
    black = np.zeros((80, 80, 3), np.uint8)
    line = np.asarray(labels_strip([Labelled("a.jpg", black, label), Labelled("b.jpg", black, label)]))
    assert line.shape == (40, 4 * 40 + 3 * 2, 3)
    assert colours(line[:, :40]) == {(0, 0, 0)}
    corners = {tuple(line[y, x].tolist()) for y in (5, 35) for x in (42 + 5, 42 + 35)}
    assert len(corners) == 4


def test_a_sheet_has_a_line_for_each_picture(label: LabelMap) -> None:
    picture = np.full((80, 80, 3), 200, np.uint8)
    one = labels_sheet([Labelled("a.jpg", picture, label)], NAMES, "title")
    two = labels_sheet([Labelled("a.jpg", picture, label), Labelled("b.jpg", picture, label)], NAMES, "title")
    assert two.height > one.height + 100


def test_a_location_without_a_share_is_grey(label: LabelMap) -> None:
    values = np.array([[np.nan, 1], [0, 1]], np.float32)
    shown = np.asarray(heat((80, 80), label, values))
    assert colours(shown[5:15, 5:15]) == {(228, 228, 231)}
    assert len({tuple(shown[y, x].tolist()) for y, x in ((5, 5), (5, 70), (70, 5))}) == 3


def test_mosaics_show_the_share_of_each_location(label: LabelMap) -> None:
    picture = np.full((80, 80, 3), 200, np.uint8)
    sheets = [
        mosaics_sheet([Example(keys=tuple("abcd"), picture=picture, label=label, own=np.full((2, 2), own))], NAMES, "t")
        for own in (0.25, 1.0)
    ]
    low, high = (np.asarray(sheet) for sheet in sheets)
    changed = (low != high).any(-1)
    assert 0.8 * 264**2 < changed.sum() <= 264**2
