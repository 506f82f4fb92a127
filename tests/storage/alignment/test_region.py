"""Are the classes of a rectangle those of its pixels, and is it said where it lies beyond the map?"""

from __future__ import annotations

import numpy as np
import pytest

from storage import Box, LabelMap, Status
from storage.alignment.region import region_scores


def label_of(rows: list[list[int]], box: tuple[float, ...] = (0, 0, 1, 1)) -> LabelMap:
    """A label whose locations are sure of these classes."""
    classes = np.array(rows, np.uint16)[..., None]
    return LabelMap(
        classes=classes,
        scores=np.ones(classes.shape, np.float32),
        boxes=np.array(box, np.float32),
        sizes=np.array([64, 64], np.uint32),
        status=np.array(Status.LABELLED, np.uint8),
    )


QUADRANTS = label_of([[3, 3, 7, 7], [3, 3, 7, 7], [1, 1, 9, 9], [1, 1, 9, 9]])


def found(label: LabelMap, box: Box, tokens: tuple[int, int] = (1, 1)) -> dict[int, list[list[float]]]:
    classes, scores, outside = region_scores(label, box, tokens)
    assert not outside.any()
    return {int(each): scores[..., n].round(4).tolist() for n, each in enumerate(classes) if scores[..., n].any()}


def test_a_rectangle_of_whole_cells_has_their_mean() -> None:
    assert found(QUADRANTS, Box(0, 0, 0.5, 0.5)) == {3: [[1]]}
    assert found(QUADRANTS, Box(0, 0.25, 0.5, 0.75)) == {3: [[0.5]], 7: [[0.5]]}
    assert found(QUADRANTS, Box.whole()) == {1: [[0.25]], 3: [[0.25]], 7: [[0.25]], 9: [[0.25]]}


def test_tokens_are_rows_and_columns_of_the_rectangle() -> None:
    assert found(QUADRANTS, Box(0, 0, 0.5, 1), (1, 2)) == {3: [[1, 0]], 7: [[0, 1]]}


def test_a_rectangle_beyond_the_map_is_outside() -> None:
    label = label_of([[3, 7]], box=(0, 0.25, 1, 0.75))
    _, scores, outside = region_scores(label, Box(0, 0, 1, 0.2))
    assert outside.all()
    assert not scores.any()
    assert found(label, Box(0, 0.25, 1, 0.5)) == {3: [[1]]}


@pytest.mark.parametrize("remainder", [0.0, 0.4])
def test_what_the_map_leaves_out_stays_left_out(remainder: float) -> None:
    label = label_of([[3, 7]])
    scores = np.full_like(label.scores, 1 - remainder)
    label = LabelMap(label.classes, scores, label.boxes, label.sizes, label.status)
    assert region_scores(label, Box.whole())[1].sum() == pytest.approx(1 - remainder)
