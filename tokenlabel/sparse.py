"""What is each token of a batch taught? A few classes with probabilities, from label maps, in numpy and without torch.

`align` says what a token's scores are; this file finds the likeliest of them for all tokens of many pictures. Where
numba is installed (`pip install 'tokenlabel[fast]'`) one compiled loop does it (tokenlabel/kernel.py), and else numpy;
tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from storage import Box, LabelMap
from tokenlabel.align import TokenScores, align, refuse_without_label
from tokenlabel.errors import LabelError
from tokenlabel.view import View
from tokenlabel.warp import Warp

COMPILED = find_spec("numba") is not None


class SparseTargets(NamedTuple):
    """The targets of b training pictures. Place 0 is the picture as a whole, places 1… are its tokens, row by row.

    classes:       int32 [b, 1 + t, m], in no order that matters
    probabilities: float32 [b, 1 + t, m], 0 where a place has fewer than m classes
    outside:       bool [b, 1 + t], places that look where the label map does not reach, or at nothing of the picture
    """

    classes: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    outside: NDArray[np.bool_]

    @classmethod
    def blank(cls, *places: int, keep: int) -> Self:
        """Targets that name nothing yet, with these axes before the last."""
        return cls(np.zeros((*places, keep), np.int32), np.zeros((*places, keep), np.float32), np.zeros(places, bool))


def sparse_targets(
    labels: LabelMap, views: Sequence[View | Warp], tokens: tuple[int, int], *, keep: int = 8
) -> SparseTargets:
    """The targets of training pictures that were cut from labelled source pictures.

    Args:
        labels: of b source pictures, [b, h, w, k].
        views: how each training picture was made of its source.
        tokens: rows and columns of tokens of the model.
        keep: classes kept at each place, the likeliest; what the others had joins the remainder.

    Raises:
        LabelError: a picture has no label, its scores are logits, or the tokens form no grid.
    """
    refuse_grid(tokens, keep)
    if len(labels) != len(views):
        raise LabelError(f"{len(views)} views were given for the labels of {len(labels)} pictures; each needs one")
    refuse_without_label(labels)
    return (_by_kernel if COMPILED else _by_numpy)(labels, views, tokens, keep)


def refuse_grid(tokens: Any, keep: Any) -> None:
    """Refuse tokens that are no grid, and a number of classes that is none.

    Raises:
        LabelError: not (rows, columns), each a whole number of at least 1, or not such a number of classes.
    """
    sides = tokens if isinstance(tokens, tuple | list) else ()
    whole = (isinstance(each, int | np.integer) and not isinstance(each, bool) for each in (*sides, keep))
    if len(sides) != 2 or not all(whole) or min(*sides, keep) < 1:
        raise LabelError(
            f"tokens must be (rows, columns) and keep a number of classes, whole and at least 1, not {tokens!r} and "
            f"{keep!r}"
        )


def from_boxes(
    labels: LabelMap,
    boxes: NDArray[np.floating],
    flips: NDArray[np.bool_] | None = None,
    *,
    tokens: tuple[int, int],
    keep: int = 8,
) -> SparseTargets:
    """The targets of crops that a loader of another kind has made: DALI, ffcv, grain, tf.data. Needs no torch.

    Args:
        labels: of b source pictures, [b, h, w, k].
        boxes: float [b, 4], top, left, bottom, right of each crop in unit image coordinates of its source picture.
        flips: bool [b], which of them were then turned left to right; none by default.
        tokens: rows and columns of tokens of the model.
        keep: classes kept at each place.

    Raises:
        LabelError: as `sparse_targets` does, and where a box reaches out of its picture or has no area.
    """
    edges = np.asarray(boxes, np.float64)
    if edges.shape != (len(labels), 4):
        raise LabelError(f"boxes must be [{len(labels)}, 4]: top, left, bottom, right for each; not {edges.shape}")
    wrong = ~((edges >= -1e-6) & (edges <= 1 + 1e-6)).all(1) | (edges[:, 2:] <= edges[:, :2]).any(1)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise LabelError(
            f"box {first} is {edges[first].tolist()}; it must be top, left, bottom, right inside [0, 1], in parts of "
            "the source picture's height and width and not in pixels"
        )
    mirrored = np.zeros(len(labels), bool) if flips is None else np.asarray(flips)
    if mirrored.shape != (len(labels),) or mirrored.dtype != bool:
        raise LabelError(f"flips must be bool [{len(labels)}], not {mirrored.dtype} {list(mirrored.shape)}")
    views = [View(Box.from_edges(box), bool(flip)) for box, flip in zip(edges, mirrored, strict=True)]
    return sparse_targets(labels, views, tokens, keep=keep)


def _by_kernel(labels: LabelMap, views: Sequence[View | Warp], tokens: tuple[int, int], keep: int) -> SparseTargets:
    from tokenlabel import kernel  # not above: it takes half a second, and labels can be looked at without it

    # Each picture by itself decides how it is read: its targets are the same to the bit in every batch.
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
    """Classes and probabilities [places, at most keep], likeliest first; no class where there is no probability."""
    flat = scores.scores.reshape(-1, len(scores.classes))
    order = np.argsort(-flat, axis=1, kind="stable")[:, :keep]
    probabilities = np.take_along_axis(flat, order, axis=1)
    return np.where(probabilities > 0, scores.classes[order], 0), probabilities
