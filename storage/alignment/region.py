"""What does a label map say of a rectangle of its picture? ROI-align, without a dense [classes, h, w] map.

A rectangle is divided into tokens, a grid of them or a single one. The scores of a token are the label map's bilinear
interpolation, averaged over a regular grid of points in the token: per axis as many points as it is cells long, rounded
up; a cell is the rectangle of one location of the label map. That is
`torchvision.ops.roi_align(aligned=True, sampling_ratio=-1)`. Because points form a grid, rows and columns separate:

    scores [tokens_y, tokens_x, p] = W_y [tokens_y, h] · map [h, w, p] · W_x [tokens_x, w]ᵀ

with p the classes that occur in this one picture: a few dozen, however many classes there are in all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage.geometry import Box
from storage.labelmap import LabelMap, no_class

# How far beyond the grid's edge its outermost cells count, in cells, where the picture continues: the grids of networks
# that begin at the first pixel (annotate/model/dense.py) end half a cell before the picture does.
BEYOND = 0.5
# Lengths in cells are sums of rounded numbers: 3.0000000001 counts as 3.
ROUNDING = 1e-6
# Points of a token along an axis, at most. Only a box that is a sliver of its picture has as many cells in a token.
MOST_POINTS = 2**16


def region_scores(
    label: LabelMap, region: Box, tokens: tuple[int, int] = (1, 1)
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float32], NDArray[np.bool_]]:
    """The probabilities of the classes of one picture in a rectangle of it.

    Args:
        label: the label of one picture, [h, w, k], which has a box.
        region: the rectangle, in coordinates of the picture.
        tokens: rows and columns that the rectangle is divided into; (1, 1) is the rectangle as a whole.

    Returns:
        classes: [p], ids, ascending
        scores:  float32 [tokens_y, tokens_x, p]; what they leave out of 1 is the remainder
        outside: bool [tokens_y, tokens_x], where more than half lies beyond the label map: the scores are 0
    """
    h, w = label.grid
    within, picture = label.box.to_inner(region), label.box.to_inner(Box.whole())
    rows, row_cover = axis_weights(
        within.top * h, within.bottom * h, cells=h, tokens=tokens[0], reach=(picture.top * h, picture.bottom * h)
    )
    columns, column_cover = axis_weights(
        within.left * w, within.right * w, cells=w, tokens=tokens[1], reach=(picture.left * w, picture.right * w)
    )
    classes, dense = palette(label)
    scores = columns @ (rows @ dense.reshape(h, -1)).reshape(tokens[0], w, len(classes))
    outside = np.outer(row_cover, column_cover) < 0.5
    scores[outside] = 0
    return classes, scores, outside


def axis_weights(
    start: float, stop: float, *, cells: int, tokens: int, reach: tuple[float, float] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The weight of each cell of an axis for each token along it, and the fraction of each token that lies on the axis.

    Args:
        start, stop: the interval that all tokens cover together, in cells; the axis runs from 0 to `cells`.
        cells, tokens: their numbers.
        reach: where the picture begins and ends, in cells; by default the ends of the axis.

    Returns:
        weights float32 [tokens, cells], each row summing to 1, and cover float64 [tokens] in [0, 1]. Both are of
        the part of a token inside the axis; with `reach`, of the part inside the picture and at most BEYOND from the
        axis.
    """
    least, most = (0, cells) if reach is None else (max(-BEYOND, reach[0]), min(cells + BEYOND, reach[1]))
    length = (stop - start) / tokens
    samples = int(min(max(1, np.ceil(length - ROUNDING)), MOST_POINTS))
    edges = start + length * np.arange(tokens + 1)
    inside = np.clip(edges, least, most)
    low, high = inside[:-1, None], inside[1:, None]
    # Cell i has its centre at i + 1/2, and points beyond the outermost centres take the value there.
    points = np.clip(low + (high - low) * (np.arange(samples) + 0.5) / samples - 0.5, 0, cells - 1)
    below = np.floor(points).astype(np.intp)
    above = np.minimum(below + 1, cells - 1)
    part = points - below
    weights = np.zeros((tokens, cells))
    row = np.arange(tokens)[:, None]
    np.add.at(weights, (row, below), (1 - part) / samples)
    np.add.at(weights, (row, above), part / samples)
    return weights.astype(np.float32), (high - low)[:, 0] / length


def palette(label: LabelMap) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float32]]:
    """The classes [p] that occur in a label, and its scores as a dense map float32 [h, w, p] over these classes."""
    h, w = label.grid
    classes, index = np.unique(label.classes, return_inverse=True)
    flat = np.arange(h * w)[:, None] * len(classes) + index.reshape(h * w, label.k)
    mass = np.bincount(flat.ravel(), label.scores.ravel(), minlength=h * w * len(classes))
    dense = mass.astype(np.float32).reshape(h, w, len(classes))
    if classes[-1] == no_class(classes.dtype):
        return classes[:-1], dense[..., :-1]
    return classes, dense
