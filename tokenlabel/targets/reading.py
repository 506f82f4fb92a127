"""How do the label maps of a batch become its targets? By a compiled loop if numba is installed, otherwise by numpy.

`align` says what a token's scores are; this file finds the largest of them for all tokens of many pictures. The
compiled loop (`pip install 'tokenlabel[fast]'`) is align_numba.py; tests check that both give the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from storage import Box, LabelMap
from tokenlabel.errors import LabelError
from tokenlabel.geometry.view import View
from tokenlabel.geometry.warp import Warp
from tokenlabel.targets.align import TokenScores, align, check_labelled
from tokenlabel.targets.sparse import SparseTargets, check_grid

_INSTALLED = find_spec("numba") is not None
COMPILED = _INSTALLED


@cache
def say_what_is_slow() -> None:
    """Say once that the compiled loop is missing."""
    if not _INSTALLED:
        warnings.warn(
            "numba is not installed, so that numpy aligns labels, which takes about 15 times as long: pip install "
            "'tokenlabel[fast]'",
            stacklevel=3,
        )


def sparse_targets(
    labels: LabelMap, views: Sequence[View | Warp], tokens: tuple[int, int], *, keep: int = 8
) -> SparseTargets:
    """The targets of training pictures that were cut from labelled source pictures.

    Args:
        labels: labels of b source pictures, [b, h, w, k].
        views: how each training picture was made of its source.
        tokens: rows and columns of tokens of the model.
        keep: number of classes kept at each position; the probability of all less probable ones joins the remainder.

    Raises:
        LabelError: a picture has no label, its scores are logits, or `tokens` is not (rows, columns).

    Example:
        >>> from storage import LabelMap
        >>> classes, scores = np.uint16([[[[7]]]]), np.float32([[[[0.75]]]])  # one picture, 1x1 grid, k = 1
        >>> labels = LabelMap(classes, scores, np.float32([[0, 0, 1, 1]]), np.uint32([[48, 64]]), np.uint8([0]))
        >>> targets = sparse_targets(labels, [View.whole()], (2, 2), keep=1)
        >>> targets.classes[0, :, 0].tolist()  # the picture as a whole, then its tokens
        [7, 7, 7, 7, 7]
    """
    check_grid(tokens, keep)
    if len(labels) != len(views):
        raise LabelError(f"{len(views)} views were given for the labels of {len(labels)} pictures; give one for each")
    check_labelled(labels)
    say_what_is_slow()
    return (_by_kernel if COMPILED else _by_numpy)(labels, views, tokens, keep)


def from_boxes(
    labels: LabelMap,
    boxes: NDArray[np.floating],
    mirrored: NDArray[np.bool_] | None = None,
    *,
    tokens: tuple[int, int],
    keep: int = 8,
) -> SparseTargets:
    """The targets of crops that another loader has made: DALI, ffcv, grain, tf.data. Needs no torch.

    Args:
        labels: labels of b source pictures, [b, h, w, k].
        boxes: float [b, 4], top, left, bottom, right of each crop in unit coordinates of its source picture.
        mirrored: bool [b], which crops were then mirrored left to right; default: none.
        tokens: rows and columns of tokens of the model.
        keep: number of classes kept at each position.

    Raises:
        LabelError: as `sparse_targets` does, and where a box reaches out of its picture or has no area.

    Example:
        >>> from storage import LabelMap
        >>> classes, scores = np.uint16([[[[7]]]]), np.float32([[[[0.75]]]])  # one picture, 1x1 grid, k = 1
        >>> labels = LabelMap(classes, scores, np.float32([[0, 0, 1, 1]]), np.uint32([[48, 64]]), np.uint8([0]))
        >>> targets = from_boxes(labels, np.array([[0.0, 0.5, 1.0, 1.0]]), np.array([True]), tokens=(2, 2), keep=1)
        >>> targets.probabilities[0, :, 0].tolist()
        [0.75, 0.75, 0.75, 0.75, 0.75]
    """
    edges = np.asarray(boxes, np.float64)
    if edges.shape != (len(labels), 4):
        raise LabelError(
            f"boxes must be [{len(labels)}, 4], top, left, bottom and right for each picture, not {list(edges.shape)}"
        )
    wrong = ~((edges >= -1e-6) & (edges <= 1 + 1e-6)).all(1) | (edges[:, 2:] <= edges[:, :2]).any(1)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise LabelError(
            f"box {first} is {edges[first].tolist()}; it must be top, left, bottom, right inside [0, 1], as fractions "
            "of the source picture's height and width and not in pixels"
        )
    given = np.zeros(len(labels), bool) if mirrored is None else np.asarray(mirrored)
    if given.shape != (len(labels),) or given.dtype != bool:
        raise LabelError(f"mirrored must be bool [{len(labels)}], not {given.dtype} {list(given.shape)}")
    views = [View(Box.from_edges(box), bool(each)) for box, each in zip(edges, given, strict=True)]
    return sparse_targets(labels, views, tokens, keep=keep)


def _by_kernel(labels: LabelMap, views: Sequence[View | Warp], tokens: tuple[int, int], keep: int) -> SparseTargets:
    from tokenlabel.targets import align_numba as kernel  # here, because numba may be absent, and takes half a second

    # How a picture is read depends on it alone, so that its targets are bit for bit the same in every batch.
    crops = {n: crop for n, view in enumerate(views) if (crop := view if isinstance(view, View) else view.view)}
    if len(crops) == len(views):
        return kernel.cropped_targets(labels, [*crops.values()], tokens, keep)
    found = SparseTargets.blank(len(views), 1 + tokens[0] * tokens[1], keep=keep)
    if crops:
        among = [*crops]
        for all_of, these in zip(
            found, kernel.cropped_targets(labels[among], [*crops.values()], tokens, keep), strict=True
        ):
            all_of[among] = these
    for n, view in enumerate(views):
        if n not in crops and isinstance(view, Warp):
            for all_of, its in zip(found, kernel.warped_targets(labels[n], view, tokens, keep), strict=True):
                all_of[n] = its
    return found


def _by_numpy(labels: LabelMap, views: Sequence[View | Warp], tokens: tuple[int, int], keep: int) -> SparseTargets:
    found = SparseTargets.blank(len(views), 1 + tokens[0] * tokens[1], keep=keep)
    for n, view in enumerate(views):
        for grid, part in (((1, 1), slice(0, 1)), (tokens, slice(1, None))):
            scores = align(labels[n], view, grid)
            classes, probabilities = _likeliest(scores, keep)
            found.classes[n, part, : classes.shape[1]] = classes
            found.probabilities[n, part, : classes.shape[1]] = probabilities
            found.outside[n, part] = scores.outside.ravel()
    return found


def _likeliest(scores: TokenScores, keep: int) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float32]]:
    """Classes and probabilities [positions, at most keep], most probable first; class 0 where the probability is 0."""
    flat = scores.scores.reshape(-1, len(scores.classes))
    order = np.argsort(-flat, axis=1, kind="stable")[:, :keep]
    probabilities = np.take_along_axis(flat, order, axis=1)
    return np.where(probabilities > 0, scores.classes[order], 0), probabilities
