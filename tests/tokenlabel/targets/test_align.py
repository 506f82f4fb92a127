"""Is alignment ROI-align, and does it mark tokens that have nothing to align?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from storage import Box, LabelMap, Status
from tests.conftest import dense
from tests.labels import random_labels
from tokenlabel import LabelError, View, Warp, align

CLASSES = 30
_GRIDS = [(6, 5), (18, 18), (1, 1), (3, 20)]
MAPS = {
    grid: random_labels(np.random.default_rng(n), 1, grid=grid, k=4, class_count=CLASSES)[0]
    for n, grid in enumerate(_GRIDS)
}
DENSE = {grid: dense(label, CLASSES) for grid, label in MAPS.items()}

side = st.floats(0.004, 1)
place = st.floats(0, 1)


def reference(grid: tuple[int, int], box: Box, tokens: tuple[int, int]) -> np.ndarray:
    """Torchvision's answer in float64, [tokens_y, tokens_x, classes]."""
    h, w = grid
    rois = torch.tensor([[0, box.left * w, box.top * h, box.right * w, box.bottom * h]], dtype=torch.float64)
    pooled = roi_align(torch.from_numpy(DENSE[grid])[None], rois, tokens, sampling_ratio=-1, aligned=True)
    return pooled[0].permute(1, 2, 0).numpy()


def spread(label: LabelMap, view: View, tokens: tuple[int, int]) -> np.ndarray:
    scores = align(label, view, tokens)
    assert not scores.outside.any()
    out = np.zeros((*tokens, CLASSES))
    out[..., scores.classes] = scores.scores
    return out


@settings(max_examples=400, deadline=None)
@given(
    grid=st.sampled_from(_GRIDS),
    tokens=st.sampled_from([(1, 1), (14, 14), (7, 3), (2, 9)]),
    size=st.tuples(side, side),
    at=st.tuples(place, place),
)
@example(grid=(18, 18), tokens=(14, 14), size=(1.0, 1.0), at=(0.0, 0.0))
@example(grid=(18, 18), tokens=(14, 14), size=(0.02, 0.013), at=(0.0, 1.0))  # smaller than a cell, in a corner
@example(grid=(6, 5), tokens=(7, 3), size=(0.004, 1.0), at=(1.0, 0.0))
def test_it_is_torchvisions_roi_align(
    grid: tuple[int, int], tokens: tuple[int, int], size: tuple[float, float], at: tuple[float, float]
) -> None:
    top, left = at[0] * (1 - size[0]), at[1] * (1 - size[1])
    box = Box(top, left, min(1.0, top + size[0]), min(1.0, left + size[1]))
    cells = [box.height * grid[0] / tokens[0], box.width * grid[1] / tokens[1]]
    if any(abs(length - round(length)) < 1e-5 for length in cells):
        return  # so near to a whole number of cells, rounding decides the number of points, in torchvision too
    assert np.abs(spread(MAPS[grid], View(box), tokens) - reference(grid, box, tokens)).max() < 1e-5


def test_a_whole_number_of_cells_is_not_rounded_up() -> None:
    label = MAPS[18, 18]
    scores = align(label, View(Box(1 / 18, 2 / 18, 15 / 18, 16 / 18)), (14, 14))
    out = np.zeros((14, 14, CLASSES))
    out[..., scores.classes] = scores.scores
    assert out == pytest.approx(DENSE[18, 18].transpose(1, 2, 0)[1:15, 2:16], abs=1e-6)


def test_probabilities_and_remainder_stay_a_distribution() -> None:
    label = MAPS[18, 18]
    scores = align(label, View(Box(0.1, 0.3, 0.77, 0.9)), (14, 14)).scores
    assert scores.min() >= 0
    assert scores.sum(-1).max() <= 1 + 1e-6


@settings(max_examples=50, deadline=None)
@given(size=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)), at=st.tuples(place, place))
def test_a_mirrored_view_has_the_mirrored_tokens(size: tuple[float, float], at: tuple[float, float]) -> None:
    top, left = at[0] * (1 - size[0]), at[1] * (1 - size[1])
    box = Box(top, left, top + size[0], left + size[1])
    plain, mirrored = (spread(MAPS[6, 5], View(box, flip), (4, 6)) for flip in (False, True))
    assert (mirrored == plain[:, ::-1]).all()


def test_the_labels_box_is_taken_into_account() -> None:
    """A map of the picture's right half, read by a view of the same half, is the whole map."""
    label = MAPS[6, 5]
    half = replace(label, boxes=np.array([0, 0.5, 1, 1], np.float32))
    assert spread(half, View(Box(0, 0.5, 1, 1)), (7, 3)) == pytest.approx(spread(label, View.whole(), (7, 3)))


def test_tokens_beyond_the_map_are_marked_and_have_no_scores() -> None:
    half = replace(MAPS[6, 5], boxes=np.array([0, 0.5, 1, 1], np.float32))
    scores = align(half, View.whole(), (4, 4))
    assert scores.outside.tolist() == [[True, True, False, False]] * 4
    assert not scores.scores[:, :2].any()
    mirrored = align(half, View(Box.whole(), mirrored=True), (4, 4))
    assert mirrored.outside.tolist() == [[False, False, True, True]] * 4


def test_a_token_that_is_half_outside_is_read_from_its_inner_part() -> None:
    half = replace(MAPS[6, 5], boxes=np.array([0, 0.45, 1, 1], np.float32))
    scores = align(half, View.whole(), (1, 2))
    assert not scores.outside[0, 1]
    assert scores.scores[0, 1].sum() == pytest.approx(MAPS[6, 5].scores.sum(-1).mean(), abs=0.1)


def test_a_picture_without_a_label_is_an_error() -> None:
    label = LabelMap.unlabelled(Status.UNDECODABLE, grid=(6, 5), k=3, class_count=40)
    with pytest.raises(LabelError, match="its status is undecodable"):
        align(label, View.whole(), (4, 4))


def test_logits_are_refused_and_never_taken_for_probabilities() -> None:
    label = random_labels(np.random.default_rng(0), 1)[0]
    logits = LabelMap(label.classes, label.scores * 9, label.boxes, label.sizes, label.status, "logit")
    with pytest.raises(LabelError, match="scores are logits"):
        align(logits, View.whole(), (4, 4))
    with pytest.raises(TypeError, match="cannot compute the remainder of logits"):
        _ = logits.remainder


def turned(angle: float) -> Warp:
    """A picture that was rotated about its centre and then cropped, so that corners show nothing."""
    sin, cos = np.sin(angle), np.cos(angle)
    about = np.array([[cos, sin, 0.5 - 0.5 * (cos + sin)], [-sin, cos, 0.5 - 0.5 * (cos - sin)], [0, 0, 1]])
    return Warp().transformed(about).cropped(Box(0.05, 0.1, 0.95, 0.8))


QUARTER = Warp().transformed(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]))


@pytest.mark.parametrize(
    "warp", [turned(0.5), turned(-1.2).mirrored(), QUARTER, turned(0.3).erased(Box(0, 0, 0.5, 0.5))]
)
@pytest.mark.parametrize("box", [Box.whole(), Box(-0.25, 0, 1.25, 1), Box(0, 0.2, 1, 0.8)])
def test_a_rotated_picture_is_read_at_the_points_that_it_shows(warp: Warp, box: Box) -> None:
    """Compared with every point computed alone, in plain Python."""
    label, tokens, points = replace(MAPS[6, 5], boxes=np.array(box.edges, np.float32)), (5, 4), 4
    scores, full = align(label, warp, tokens), DENSE[6, 5]
    for i, j in np.ndindex(tokens):
        read = []
        for a, b in np.ndindex(points, points):
            point = np.array([[(i + (a + 0.5) / points) / tokens[0], (j + (b + 0.5) / points) / tokens[1]]])
            ((y, x),), (inside,) = warp.trace_back(point)
            y, x = (y - box.top) / box.height * 6, (x - box.left) / box.width * 5
            if inside and -0.5 <= y <= 6.5 and -0.5 <= x <= 5.5:  # half a cell beyond the grid is its outermost cells'
                y, x = min(max(y - 0.5, 0), 5), min(max(x - 0.5, 0), 4)
                y0, x0 = min(int(y), 4), min(int(x), 3)
                v, u = y - y0, x - x0
                top = (1 - u) * full[:, y0, x0] + u * full[:, y0, x0 + 1]
                read.append((1 - v) * top + v * ((1 - u) * full[:, y0 + 1, x0] + u * full[:, y0 + 1, x0 + 1]))
        assert scores.outside[i, j] == (len(read) < points * points / 2)
        if not scores.outside[i, j]:
            assert np.abs(scores.scores[i, j] - np.mean(read, 0)[scores.classes]).max() < 1e-5
    assert not scores.outside.all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_that_was_padded_and_erased_is_read_as_a_crop_wherever_it_shows_whole_tokens(mirrored: bool) -> None:
    crop = View(Box(0.2, 0.1, 0.83, 0.71), mirrored)
    plain = align(MAPS[18, 18], crop, (8, 8))
    erased = align(MAPS[18, 18], Warp.of(crop).erased(Box(0, 0, 0.3, 0.3)), (8, 8))
    touched = np.zeros((8, 8), bool)
    touched[:3, :3] = True
    assert (erased.scores[~touched] == plain.scores[~touched]).all()
    assert (erased.scores[touched] != plain.scores[touched]).any()
    padded = align(MAPS[18, 18], Warp.of(crop).cropped(Box(-1, 0, 1, 1)), (16, 8))
    assert padded.outside.tolist() == [[True] * 8] * 8 + [[False] * 8] * 8
    assert padded.scores[8:] == pytest.approx(plain.scores, abs=1e-6)


@pytest.mark.parametrize("change", [Warp().mirrored(), Warp().flipped(), Warp()])
def test_erasing_a_corner_changes_no_label_elsewhere_whatever_the_label_covers(change: Warp) -> None:
    """Of a map of the picture's middle, too, whose edges cut tokens in two."""
    label = replace(MAPS[18, 18], boxes=np.array([0, 0.125, 1, 0.875], np.float32))
    plain, erased = align(label, change, (16, 14)), align(label, change.erased(Box(0.95, 0.95, 1, 1)), (16, 14))
    far = np.ones((16, 14), bool)
    far[-1, -1] = False
    assert (plain.outside[far] == erased.outside[far]).all()
    assert erased.scores[far] == pytest.approx(plain.scores[far], abs=1e-6)
    assert erased.outside[-1, -1]


def test_a_flipped_picture_has_flipped_tokens() -> None:
    crop = View(Box(0.2, 0.1, 0.83, 0.71))
    upright, flipped = align(MAPS[6, 5], crop, (5, 3)), align(MAPS[6, 5], Warp.of(crop).flipped(), (5, 3))
    assert Warp.of(crop).flipped().view.flipped
    assert flipped.scores == pytest.approx(upright.scores[::-1], abs=1e-6)


def test_what_was_erased_and_what_lies_beyond_the_corners_is_outside() -> None:
    assert align(MAPS[6, 5], Warp().erased(Box(0, 0, 0.5, 0.5)), (4, 4)).outside.tolist() == [
        [True, True, False, False], [True, True, False, False], [False] * 4, [False] * 4
    ]  # fmt: skip
    corners = align(MAPS[6, 5], turned(np.pi / 4), (8, 8)).outside
    assert corners[0, 0]
    assert not corners[3:5, 3:5].any()


def test_a_grid_that_ends_half_a_cell_before_the_picture_counts_for_all_of_it() -> None:
    """As those of networks do that have their first location at the first pixel."""
    label = replace(MAPS[18, 18], boxes=np.array([-0.5, -0.5, 17.5, 17.5], np.float32) / 18)
    scores = align(label, View.whole(), (14, 14))
    assert not scores.outside.any()
    # The last token reaches from cell 17 + 3/14 on, in a grid that is read half a cell further down and right.
    whole = align(
        replace(label, boxes=np.array([0, 0, 1, 1], np.float32)), View(Box(0.5 / 18, 0.5 / 18, 1, 1)), (14, 14)
    )
    assert np.abs(scores.scores[:12, :12] - whole.scores[:12, :12]).max() > 1e-3
    assert align(label, View(Box(0.5, 0.5, 0.75, 0.75)), (1, 1)).scores[0, 0] == pytest.approx(
        align(
            replace(label, boxes=np.array([0, 0, 1, 1], np.float32)),
            View(Box(9.5 / 18, 9.5 / 18, 14 / 18, 14 / 18)),
            (1, 1),
        ).scores[0, 0],
        abs=1e-5,
    )
