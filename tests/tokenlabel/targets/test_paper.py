"""Is it the published method, with each of its errors where it is switched on and nowhere else?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import Box, LabelMap, Status
from storage.labelmap import no_class
from tests.labels import random_labels
from tests.tokenlabel.distributions import dense
from tokenlabel import LabelError, View, random_view, token_label_loss, token_targets
from tokenlabel.geometry.warp import Warp
from tokenlabel.targets.paper import Paper, logits_of, paper_targets

CLASSES = 9
TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT = 3, 4, 7, 8


def logit_map(classes: list, logits: list, size: tuple[int, int] = (40, 40)) -> LabelMap:
    """The logits of one picture, [1, h, w, k]."""
    names = np.array(classes, np.uint16)[None]
    return LabelMap(
        classes=names,
        scores=np.array(logits, np.float16)[None],
        boxes=np.array([[0, 0, 1, 1]], np.float32),
        sizes=np.array([size], np.uint32),
        status=np.full(1, Status.LABELLED, np.uint8),
        kind="logit",
    )


QUADRANTS = logit_map([[[TOP_LEFT], [TOP_RIGHT]], [[BOTTOM_LEFT], [BOTTOM_RIGHT]]], [[[2.0], [2.0]], [[2.0], [2.0]]])


def test_one_class_in_each_quadrant_by_hand() -> None:
    """A token's class has e² / (e² + 8). In the picture as a whole its logit is 2/4, and it has e^½ / (4 e^½ + 5)."""
    found = paper_targets(QUADRANTS, [View.whole()], (2, 2), class_count=CLASSES, smoothing=0)[0]
    assert found.shape == (5, CLASSES)
    expected = torch.full((5, CLASSES), 1 / (np.e**2 + 8))
    expected[0] = 1 / (4 * np.e**0.5 + 5)
    for token, name in enumerate((TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT)):
        expected[1 + token, name] = np.e**2 / (np.e**2 + 8)
        expected[0, name] = np.e**0.5 / (4 * np.e**0.5 + 5)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("mirrored", "swapped"), [(False, BOTTOM_LEFT), (True, TOP_RIGHT)])
def test_swapped_axes_read_the_transposed_crop(mirrored: bool, swapped: int) -> None:
    """Of the top right quadrant. A mirrored one is the top left one of a mirrored map, and is swapped with itself."""
    view = View(Box(0, 0.5, 0.5, 1), mirrored)
    read = {
        axes: paper_targets(QUADRANTS, [view], (1, 1), class_count=CLASSES, axes=axes)[0, 1].argmax().item()
        for axes in ("right", "swapped")
    }
    assert read == {"right": TOP_RIGHT, "swapped": swapped}


def test_a_map_of_the_centre_is_read_as_the_whole_picture_or_as_what_it_is() -> None:
    """A picture twice as wide as tall shows classes 0 to 3 from left to right: its centre square, 1 and 2 alone."""
    wide = logit_map([np.repeat(range(4), 2)[:, None]] * 4, [[[5.0]] * 8] * 4, size=(20, 40))
    centre = logit_map([[[1], [1], [2], [2]]] * 4, [[[5.0]] * 4] * 4, size=(20, 40))
    centre = replace(centre, boxes=np.array([[0, 0.25, 1, 0.75]], np.float32))

    def read(labels: LabelMap, geometry: str, view: View) -> list[int]:
        found = paper_targets(labels, [view], (1, 2), class_count=CLASSES, geometry=geometry)
        return found[0, 1:].argmax(-1).tolist()

    middle = View(Box(0, 0.25, 1, 0.75))
    assert read(wide, "box", middle) == [1, 2]
    assert read(centre, "box", middle) == [1, 2]
    assert read(wide, "center", View.whole()) == [1, 2]
    assert read(centre, "center", View.whole()) == [1, 2]
    smaller = replace(centre, boxes=np.array([[0.1, 0.3, 0.9, 0.7]], np.float32))
    found = paper_targets(smaller, [middle], (3, 3), class_count=CLASSES, geometry="center")
    as_if_whole = replace(smaller, boxes=np.array([[0, 0, 1, 1]], np.float32))
    assert torch.equal(found, paper_targets(as_if_whole, [middle], (3, 3), class_count=CLASSES))
    right_end = View(Box(0, 0.75, 1, 1.0))
    assert read(wide, "box", right_end) == [3, 3]
    assert read(wide, "center", right_end) == [2, 2]
    assert read(centre, "center", right_end) == [2, 2]


def sampled(dense: np.ndarray, edges: tuple[float, float, float, float], tokens: tuple[int, int]) -> np.ndarray:
    """ROI-align, one point at a time: [t, C] of a map [C, h, w] and top, left, bottom, right in cells less a half."""
    h, w = dense.shape[1:]
    top, left, bottom, right = edges
    height, width = max(bottom - top, 1), max(right - left, 1)
    bins = height / tokens[0], width / tokens[1]
    out = []
    for row, column in np.ndindex(*tokens):
        counts = [int(np.ceil(side - 1e-6)) for side in bins]
        found = []
        for i, j in np.ndindex(*counts):
            y = top + bins[0] * (row + (i + 0.5) / counts[0])
            x = left + bins[1] * (column + (j + 0.5) / counts[1])
            y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            v, u = y - y0, x - x0
            found.append(
                (1 - v) * ((1 - u) * dense[:, y0, x0] + u * dense[:, y0, x1])
                + v * ((1 - u) * dense[:, y1, x0] + u * dense[:, y1, x1])
            )
        out.append(np.mean(found, 0))
    return np.array(out)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), swapped=st.booleans())
def test_it_is_zero_filled_logits_pooled_and_then_a_softmax(seed: int, swapped: bool) -> None:
    """The published code's own steps on square maps, written out; it mirrors a map before it is cropped."""
    rng = np.random.default_rng(seed)
    names = rng.permuted(np.tile(np.arange(CLASSES), (6, 6, 1)), axis=-1)[..., :3]
    labels = logit_map(names, rng.normal(2, 3, (6, 6, 3)))
    view = random_view(rng, (40, 40), scale=(0.1, 1))
    dense = np.zeros((CLASSES, 6, 6))
    for y, x, rank in np.ndindex(6, 6, 3):
        dense[names[y, x, rank], y, x] = labels.scores[0, y, x, rank]
    box = view.box
    if view.mirrored:
        dense, box = dense[..., ::-1], box.mirrored()
    edges = np.array([box.left, box.top, box.right, box.bottom] if swapped else box.edges) * 6 - 0.5
    if any(abs(side - round(side)) < 1e-4 for side in (*(edges[2:] - edges[:2]), *((edges[2:] - edges[:2]) / [4, 3]))):
        return  # so near to a whole number of cells, rounding decides the number of points
    logits = np.concatenate([sampled(dense, tuple(edges), tokens) for tokens in ((1, 1), (4, 3))])
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = (1 - 0.1 + 0.1 / CLASSES) * softmax + 0.1 / CLASSES
    found = paper_targets(
        labels, [view], (4, 3), class_count=CLASSES, axes="swapped" if swapped else "right", smoothing=0.1
    )
    assert found[0].numpy() == pytest.approx(expected, abs=1e-5)


def test_classes_that_nobody_named_take_what_is_known_of_the_method() -> None:
    """Of a sure cell of 1,000 classes they take a tenth, of an unsure one nearly all."""
    names = [[[0, 1, 2, 3, 4]]]
    for logits, kept in (([9, 6, 5, 4.5, 4], 0.898), ([3, 2.5, 2, 1.8, 1.5], 0.048)):
        found = paper_targets(logit_map(names, [[logits]]), [View.whole()], (1, 1), class_count=1000, smoothing=0)
        assert found[0, 1, :5].sum().item() == pytest.approx(kept, abs=5e-4)


def test_smoothing_adds_a_class_too_much() -> None:
    found = paper_targets(QUADRANTS, [View.whole()], (2, 2), class_count=CLASSES, smoothing=0.1)
    assert found.sum(-1) == pytest.approx(torch.full((1, 5), 1 + 0.1 / CLASSES).numpy(), abs=1e-6)


def test_a_batch_is_its_pictures_one_by_one() -> None:
    rng = np.random.default_rng(0)
    labels = random_labels(rng, 3, class_count=40)
    views = [random_view(rng, (50, 60)) for _ in range(3)]
    together = paper_targets(labels, views, (3, 4), class_count=40)
    assert (together.shape, together.dtype) == ((3, 13, 40), torch.float32)
    for n, view in enumerate(views):
        alone = paper_targets(labels[n : n + 1], [view], (3, 4), class_count=40)
        assert torch.equal(alone[0], together[n])


def test_logits_of_probabilities_are_zero_on_average_and_say_the_same() -> None:
    labels = random_labels(np.random.default_rng(0), 2, class_count=40)
    labels.classes[0, 0, 0, 2], labels.scores[0, 0, 0, 2] = no_class(labels.classes.dtype), 0
    logits = logits_of(labels, class_count=40)
    assert (logits.kind, logits.scores.dtype) == ("logit", np.float32)
    assert (logits.classes == labels.classes).all()
    named = labels.scores > 0
    others = 40 - named.sum(-1)
    remainder = np.maximum(labels.remainder, 2.0**-16)
    # The logit of classes that are not named, from how much more probable each named one is.
    unnamed = logits.scores[..., 0] - np.log(labels.scores[..., 0] / (remainder / others))
    assert (np.where(named, logits.scores, 0).sum(-1) + others * unnamed) / 40 == pytest.approx(0, abs=1e-5)
    whole = np.where(named, np.exp(logits.scores), 0).sum(-1) + others * np.exp(unnamed)
    sure = remainder > 1e-4
    assert (np.exp(logits.scores) / whole[..., None])[sure] == pytest.approx(
        np.where(named, labels.scores, np.exp(0) / whole[..., None])[sure], abs=1e-5
    )
    assert (unnamed <= 1e-6).all()


def test_probabilities_are_taken_by_their_logits() -> None:
    labels = random_labels(np.random.default_rng(0), 2, class_count=40)
    views = [View.whole(), View(Box(0.1, 0.2, 0.7, 0.9), mirrored=True)]
    found = paper_targets(labels, views, (3, 4), class_count=40)
    assert torch.equal(found, paper_targets(logits_of(labels, class_count=40), views, (3, 4), class_count=40))


def test_with_many_classes_and_cells_that_agree_it_is_nearly_what_ours_is() -> None:
    """One answer everywhere: nothing to average, and the classes that are not named are all at 0."""
    label = random_labels(np.random.default_rng(0), 1, grid=(1, 1), k=5, class_count=1000)
    ours = token_targets(label, [View.whole()], (2, 2)).smoothed(0.1, class_count=1000)
    published = paper_targets(label, [View.whole()], (2, 2), class_count=1000)
    logits = torch.randn(1, 4, 1000, generator=torch.Generator().manual_seed(0))
    picture = torch.randn(1, 1000, generator=torch.Generator().manual_seed(1))
    entropies = -(published * torch.cat([picture[:, None], logits], 1).log_softmax(-1)).sum(-1)
    expected = entropies[:, 0].mean() + 0.5 * entropies[:, 1:].mean()
    assert token_label_loss(picture, logits, ours).item() == pytest.approx(expected.item(), rel=5e-3)


def test_what_the_method_has_no_answer_to_is_refused() -> None:
    options = {"class_count": CLASSES}
    with pytest.raises(LabelError, match="2 views were given for the labels of 1 pictures"):
        paper_targets(QUADRANTS, [View.whole()] * 2, (2, 2), **options)
    with pytest.raises(LabelError, match="the labels name class 8, but class_count is 8"):
        paper_targets(QUADRANTS, [View.whole()], (2, 2), class_count=8)
    turned = Warp().transformed(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]]))
    with pytest.raises(LabelError, match="only crops and mirrors; this picture was also rotated"):
        paper_targets(QUADRANTS, [turned], (2, 2), **options)
    unknown = replace(QUADRANTS, sizes=np.zeros((1, 2), np.uint32))
    with pytest.raises(LabelError, match='depends on its size, which the label does not say; use geometry="box"'):
        paper_targets(unknown, [View.whole()], (2, 2), geometry="center", **options)
    unlabelled = LabelMap.stack([LabelMap.unlabelled(Status.UNDECODABLE, grid=(2, 2), k=1, class_count=CLASSES)])
    with pytest.raises(LabelError, match="picture 0 has no label: its status is undecodable"):
        paper_targets(unlabelled, [View.whole()], (2, 2), **options)


@pytest.mark.parametrize("axes", ["right", "swapped"])
@pytest.mark.parametrize("geometry", ["box", "center"])
@pytest.mark.parametrize("kind", ["probability", "logit"])
@pytest.mark.parametrize("compiled", [True, False])
def test_its_sparse_targets_are_the_dense_ones(
    axes: str, geometry: str, kind: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On maps that begin at the first pixel, too; where all classes that a token meets are kept."""
    rng = np.random.default_rng(3)
    labels = random_labels(rng, 12, grid=(7, 7), k=3, class_count=60)
    labels.boxes[6:] += 0.5 / 7
    labels.sizes[:] = [[75, 100], [100, 75], [80, 80]] * 4
    if kind == "logit":
        labels = replace(labels, scores=(8 * labels.scores).astype(np.float16), kind="logit")
    labels.boxes[9:] = [0.1, 0.2, 0.9, 0.7]  # of a part alone, beyond which all logits are 0
    views = [random_view(rng, tuple(size), scale=(0.005, 1)) for size in labels.sizes.tolist()]
    monkeypatch.setattr("tokenlabel.targets.paper.COMPILED", compiled)
    sparse = Paper(axes, geometry).targets(labels, views, (4, 3), class_count=60, keep=60)
    expected = paper_targets(labels, views, (4, 3), class_count=60, smoothing=0, axes=axes, geometry=geometry)
    assert not sparse.outside.any()
    assert dense(sparse, 60) == pytest.approx(expected.numpy(), abs=1e-5)


def test_the_centre_is_cut_out_of_maps_that_begin_at_the_first_pixel_too() -> None:
    wide = replace(QUADRANTS, sizes=np.array([[40, 80]], np.uint32))
    shifted = replace(wide, boxes=np.array([[-0.25, -0.25, 0.75, 0.75]], np.float32))
    for labels in (wide, shifted):
        whole, centre = (
            paper_targets(labels, [View.whole()], (1, 8), class_count=CLASSES, geometry=geometry)
            for geometry in ("box", "center")
        )
        assert not torch.allclose(whole, centre, atol=1e-3)
    far = replace(wide, boxes=np.array([[-0.5, 0, 1.5, 1]], np.float32))  # letterboxed, and known to be
    assert torch.equal(
        paper_targets(far, [View.whole()], (1, 8), class_count=CLASSES, geometry="center"),
        paper_targets(far, [View.whole()], (1, 8), class_count=CLASSES),
    )


def test_unknown_switches_are_refused() -> None:
    with pytest.raises(LabelError, match="axes must be 'right' or 'swapped' and geometry 'box' or 'center', not 'xy'"):
        Paper(axes="xy")


def test_a_warp_that_is_a_crop_is_a_crop() -> None:
    view = View(Box(0, 0.5, 0.5, 1), mirrored=True)
    options = {"tokens": (2, 2), "class_count": CLASSES}
    assert torch.allclose(
        paper_targets(QUADRANTS, [Warp.of(view)], **options), paper_targets(QUADRANTS, [view], **options)
    )
