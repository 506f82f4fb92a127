"""Does a batch get the likeliest classes of each token, compiled or not, and from boxes of any loader?"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage import Box, LabelMap, Status
from tests.labels import random_labels
from tokenlabel.errors import LabelError
from tokenlabel.geometry.view import View, random_view
from tokenlabel.geometry.warp import Warp
from tokenlabel.targets import reading
from tokenlabel.targets.align import align
from tokenlabel.targets.reading import from_boxes, sparse_targets
from tokenlabel.targets.sparse import SparseTargets

pytest.importorskip("numba", reason="the compiled loop needs numba: pip install 'tokenlabel[fast]'")


def labels(seed: int, count: int, **kwargs: object) -> LabelMap:
    return random_labels(np.random.default_rng(seed), count, **({"grid": (9, 7), "k": 4, "class_count": 30} | kwargs))


def dense(targets: SparseTargets, class_count: int) -> np.ndarray:
    found = np.zeros((*targets.outside.shape, class_count))
    np.put_along_axis(found, targets.classes.astype(np.int64), 0, -1)
    for index in np.ndindex(targets.classes.shape):
        found[(*index[:2], targets.classes[index])] += targets.probabilities[index]
    return found


def by_numpy(monkeypatch: pytest.MonkeyPatch, *arguments: object, **options: object) -> SparseTargets:
    with monkeypatch.context() as patch:
        patch.setattr(reading, "COMPILED", False)
        return sparse_targets(*arguments, **options)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    grid=st.sampled_from([(1, 1), (9, 7), (18, 18), (3, 20)]),
    tokens=st.sampled_from([(1, 1), (14, 14), (5, 2)]),
    keep=st.sampled_from([1, 3, 8, 30]),
    many=st.booleans(),
)
@example(seed=0, grid=(18, 18), tokens=(14, 14), keep=8, many=True)
def test_compiled_or_not_the_targets_are_those_of_align(
    seed: int, grid: tuple[int, int], tokens: tuple[int, int], keep: int, many: bool
) -> None:
    rng = np.random.default_rng(seed)
    maps = labels(seed, 3, grid=grid)
    if many:  # more than uint16 can number
        maps = replace(maps, classes=maps.classes.astype(np.uint32) * 5000)
    boxes = np.sort(rng.random((3, 2, 2)), axis=1).reshape(3, 4)  # of two points: (y, x), (y, x)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1e-3)
    views = [View(Box.from_edges(edges), bool(n % 2)) for n, edges in enumerate(boxes)]
    with pytest.MonkeyPatch.context() as patch:
        compiled = sparse_targets(maps, views, tokens, keep=keep)
        numpy = by_numpy(patch, maps, views, tokens, keep=keep)
    assert (compiled.outside == numpy.outside).all()
    for n, view in enumerate(views):
        for place, part in ((slice(0, 1), (1, 1)), (slice(1, None), tokens)):
            scores = align(maps[n], view, part)
            full = scores.scores.reshape(-1, len(scores.classes))
            best = np.zeros((len(full), keep))
            best[:, : full.shape[1]] = -np.sort(-full, axis=1)[:, :keep]
            for found in (compiled, numpy):
                probabilities = found.probabilities[n, place]
                column = np.searchsorted(scores.classes, found.classes[n, place]).clip(0, full.shape[1] - 1)
                named = probabilities > 0
                assert np.allclose(np.take_along_axis(full, column, 1)[named], probabilities[named], atol=1e-5)
                assert np.allclose(-np.sort(-probabilities, axis=1), best, atol=1e-5)


def test_what_was_padded_by_the_annotator_is_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A letterboxed label covers grey bars; a view that reaches beyond the picture must not read them."""
    maps = labels(0, 1, grid=(8, 8))
    maps = replace(maps, boxes=np.array([[-0.5, 0, 1.5, 1]], np.float32))
    for view in (View(Box(-0.5, 0, 0.5, 1)), View(Box(0.5, 0, 1.5, 1), mirrored=True)):
        compiled, numpy = sparse_targets(maps, [view], (4, 2)), by_numpy(monkeypatch, maps, [view], (4, 2))
        assert (compiled.outside == numpy.outside).all()
        assert compiled.outside[0, 1:].reshape(4, 2).any(1).tolist() == [view.box.top < 0] * 2 + [view.box.top > 0] * 2
        assert np.allclose(dense(compiled, 30), dense(numpy, 30), atol=1e-6)


@pytest.mark.parametrize("many", [False, True])
def test_compiled_or_not_a_picture_that_was_turned_has_the_same_targets(
    many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, maps = np.random.default_rng(5), labels(5, 8, grid=(9, 7))
    if many:
        maps = replace(maps, classes=maps.classes.astype(np.uint32) * 5000)
    warps = [Warp().transformed(np.eye(3) + rng.normal(size=(3, 3)) * [[0.3], [0.3], [0.05]]) for _ in range(4)]
    crop = Warp.of(View(Box(0.2, 0.1, 0.9, 0.6), mirrored=True))
    warps += [warps[0].erased(Box(0.2, 0.1, 0.7, 0.5)).cropped(Box(-0.2, 0, 0.8, 1)), crop.flipped()]
    warps += [crop.erased(Box(0.2, 0.1, 0.7, 0.5)), crop.cropped(Box(-0.2, 0, 0.8, 1.5)).flipped()]
    for tokens, keep in (((6, 5), 4), ((14, 14), 30)):
        compiled = sparse_targets(maps, warps, tokens, keep=keep)
        numpy = by_numpy(monkeypatch, maps, warps, tokens, keep=keep)
        assert (compiled.outside == numpy.outside).all()
        assert compiled.outside.any()
        assert not compiled.outside.all()
        assert np.allclose(np.sort(compiled.probabilities, axis=-1), np.sort(numpy.probabilities, axis=-1), atol=1e-6)
        if not many:
            assert np.allclose(dense(compiled, 30), dense(numpy, 30), atol=1e-6)


def test_a_warp_that_is_a_crop_is_read_as_one() -> None:
    maps, view = labels(1, 1), View(Box(0.2, 0.1, 0.9, 0.6), mirrored=True)
    plain, warped = (sparse_targets(maps, [one], (5, 3)) for one in (view, Warp.of(view)))
    assert np.allclose(dense(plain, 30), dense(warped, 30), atol=1e-6)


def test_boxes_of_other_loaders_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    views, maps = [random_view(rng, (375, 500)) for _ in range(6)], labels(2, 6)
    boxes = np.array([view.box.edges for view in views])
    mine = from_boxes(maps, boxes, np.array([view.mirrored for view in views]), tokens=(4, 4))
    theirs = sparse_targets(maps, views, (4, 4))
    assert all((a == b).all() for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (np.zeros((2, 3)), r"boxes must be \[2, 4\]"),
        (np.array([[0, 0, 1, 1], [0, 0, 224, 224]]), "box 1 is .* inside .* and not in pixels"),
        (np.array([[0, 0, 1, 1], [0.5, 0, 0.5, 1]]), "box 1 is"),
    ],
)
def test_boxes_out_of_range_or_without_area_are_refused(boxes: np.ndarray, words: str) -> None:
    with pytest.raises(LabelError, match=words):
        from_boxes(labels(0, 2), boxes, tokens=(2, 2))


def test_a_picture_without_a_label_is_refused() -> None:
    missing = LabelMap.unlabelled(Status.MISSING, grid=(9, 7), k=4, class_count=30)
    with pytest.raises(LabelError, match="has no label: its status is missing"):
        sparse_targets(LabelMap.stack([missing]), [View.whole()], (2, 2))
    with pytest.raises(LabelError, match="1 views were given for the labels of 2 pictures"):
        sparse_targets(labels(0, 2), [View.whole()], (2, 2))


def test_boxes_need_no_torch() -> None:
    program = (
        "import sys; from tokenlabel.targets.reading import from_boxes; "
        "sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_numba_it_is_said_once() -> None:
    code = """
import sys, warnings
sys.modules["numba"] = None  # as if it were not installed
import numpy as np
from storage import LabelMap
from tokenlabel import View, sparse_targets
classes, scores = np.uint16([[[[7]]]]), np.float32([[[[0.75]]]])
labels = LabelMap(classes, scores, np.float32([[0, 0, 1, 1]]), np.uint32([[48, 64]]), np.uint8([0]))
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as said:
    for _ in range(3):
        sparse_targets(labels, [View.whole()], (2, 2), keep=1)
print(*(str(each.message) for each in said), sep="\\n")
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"numba is not installed, .* 15 times as long: pip install 'tokenlabel\[fast\]'\n", printed)
