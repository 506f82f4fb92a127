"""What does a label map say of each token of a training picture? ROI-align, without a dense [classes, h, w] map.

A token sees a rectangle of the source picture. Its scores are the label map's bilinear interpolation, averaged over a
regular grid of points in that rectangle: per axis as many points as the rectangle is cells long, rounded up. That is
`torchvision.ops.roi_align(aligned=True, sampling_ratio=-1)`. Because points form a grid, rows and columns separate:

    scores [tokens_y, tokens_x, p] = W_y [tokens_y, h] · map [h, w, p] · W_x [tokens_x, w]ᵀ

with p the classes that occur in this one picture: some dozens, whatever the number of all classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage import LabelMap, Status
from storage.labelmap import no_class
from tokenlabel.errors import LabelError
from tokenlabel.view import View

# Cell lengths are sums of rounded numbers; 3.0000000001 cells are 3.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """The probabilities of the classes of one picture at each of its tokens.

    classes: [p], ids, ascending
    scores:  float32 [tokens_y, tokens_x, p]; what they leave out of 1 is the remainder
    outside: bool [tokens_y, tokens_x], tokens that look for the most part where the label map does not reach: their
             scores are 0
    """

    classes: NDArray[np.unsignedinteger]
    scores: NDArray[np.float32]
    outside: NDArray[np.bool_]


def align(label: LabelMap, view: View, tokens: tuple[int, int]) -> TokenScores:
    """The scores of each token of a training picture.

    Args:
        label: of one source picture, [h, w, k].
        view: how the training picture was cut from it.
        tokens: rows and columns of tokens; (1, 1) is the picture as a whole.

    Raises:
        LabelError: the picture has no label.
    """
    if label.kind != "probability":
        raise LabelError(
            "the label's scores are logits, as another tool wrote them: they do not say what they leave to the other "
            "classes, and this version trains on probabilities only"
        )
    if label.status != Status.LABELLED:
        raise LabelError(f"the picture has no label: its status is {Status(int(label.status)).word}")
    h, w = label.grid
    region = label.box.locate(view.box)
    rows, row_cover = axis_weights(region.top * h, region.bottom * h, cells=h, tokens=tokens[0])
    columns, column_cover = axis_weights(region.left * w, region.right * w, cells=w, tokens=tokens[1])
    classes, dense = _palette(label)
    scores = columns @ (rows @ dense.reshape(h, -1)).reshape(tokens[0], w, len(classes))
    outside = np.outer(row_cover, column_cover) < 0.5
    scores[outside] = 0
    if view.mirrored:
        scores, outside = scores[:, ::-1], outside[:, ::-1]
    return TokenScores(classes, np.ascontiguousarray(scores), np.ascontiguousarray(outside))


def axis_weights(
    start: float, stop: float, *, cells: int, tokens: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The weight of each cell of an axis for each token that lies along it, and how much of each token has cells.

    Args:
        start, stop: what all tokens cover together, in cells; the axis runs from 0 to `cells`.
        cells, tokens: how many.

    Returns:
        weights float32 [tokens, cells], each row summing to 1, and cover float64 [tokens] in [0, 1]. A token is weighed
        by its part inside the axis.
    """
    length = (stop - start) / tokens
    samples = max(1, int(np.ceil(length - _ROUNDING)))
    edges = start + length * np.arange(tokens + 1)
    inside = np.clip(edges, 0, cells)
    low, high = inside[:-1, None], inside[1:, None]
    # Cell i has its centre at i + 1/2, and what lies beyond the outermost centres is taken from them.
    points = np.clip(low + (high - low) * (np.arange(samples) + 0.5) / samples - 0.5, 0, cells - 1)
    below = np.floor(points).astype(np.intp)
    above = np.minimum(below + 1, cells - 1)
    part = points - below
    weights = np.zeros((tokens, cells))
    row = np.arange(tokens)[:, None]
    np.add.at(weights, (row, below), (1 - part) / samples)
    np.add.at(weights, (row, above), part / samples)
    return weights.astype(np.float32), (high - low)[:, 0] / length


def _palette(label: LabelMap) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float32]]:
    """The classes [p] that occur in a label, and its scores as a dense map float32 [h, w, p] over just them."""
    h, w = label.grid
    classes, place = np.unique(label.classes, return_inverse=True)
    flat = np.arange(h * w)[:, None] * len(classes) + place.reshape(h * w, label.k)
    mass = np.bincount(flat.ravel(), label.scores.ravel(), minlength=h * w * len(classes))
    dense = mass.astype(np.float32).reshape(h, w, len(classes))
    if classes[-1] == no_class(classes.dtype):
        return classes[:-1], dense[..., :-1]
    return classes, dense
