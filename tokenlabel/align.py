"""What does a label map say of each token of a training picture? ROI-align, without a dense [classes, h, w] map.

A token sees a rectangle of the source picture. Its scores are the label map's bilinear interpolation, averaged over a
regular grid of points in that rectangle: per axis as many points as the rectangle is cells long, rounded up. That is
`torchvision.ops.roi_align(aligned=True, sampling_ratio=-1)`. Because points form a grid, rows and columns separate:

    scores [tokens_y, tokens_x, p] = W_y [tokens_y, h] · map [h, w, p] · W_x [tokens_x, w]ᵀ

with p the classes that occur in this one picture: some dozens, whatever the number of all classes.

A token of a picture that was turned or bent sees no rectangle, and one that was padded or erased in part sees less than
its own. They are read at the points of a regular grid, wherever in the source picture each of them shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage import Box, LabelMap, Status
from storage.labelmap import no_class
from tokenlabel.errors import LabelError
from tokenlabel.view import View
from tokenlabel.warp import Warp

# Cells beyond the grid's edge that its outermost cells speak for, where the picture goes on: grids of networks that
# begin at the first pixel (annotate/dense.py) end half a cell before the picture does.
BEYOND = 0.5
_LEAST_POINTS, _MOST_POINTS = 4, 32  # along each side of a token that is no rectangle in its source
# Cell lengths are sums of rounded numbers; 3.0000000001 cells are 3.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """The probabilities of the classes of one picture at each of its tokens.

    classes: [p], ids, ascending
    scores:  float32 [tokens_y, tokens_x, p]; what they leave out of 1 is the remainder
    outside: bool [tokens_y, tokens_x], tokens that look for the most part where the label map does not reach, or at
             nothing of the picture: their scores are 0
    """

    classes: NDArray[np.unsignedinteger]
    scores: NDArray[np.float32]
    outside: NDArray[np.bool_]


def align(label: LabelMap, view: View | Warp, tokens: tuple[int, int]) -> TokenScores:
    """The scores of each token of a training picture.

    Args:
        label: of one source picture, [h, w, k].
        view: how the training picture was made of it.
        tokens: rows and columns of tokens; (1, 1) is the picture as a whole.

    Raises:
        LabelError: the picture has no label, or its scores are logits.
    """
    refuse_without_label(label)
    if isinstance(view, Warp):
        crop = view.view
        return _align_crop(label, crop, tokens) if crop else _align_warped(label, view, tokens)
    return _align_crop(label, view, tokens)


def _align_crop(label: LabelMap, view: View, tokens: tuple[int, int]) -> TokenScores:
    h, w = label.grid
    region, picture = label.box.locate(view.box), label.box.locate(Box.whole())
    rows, row_cover = axis_weights(
        region.top * h, region.bottom * h, cells=h, tokens=tokens[0], reach=(picture.top * h, picture.bottom * h)
    )
    columns, column_cover = axis_weights(
        region.left * w, region.right * w, cells=w, tokens=tokens[1], reach=(picture.left * w, picture.right * w)
    )
    classes, dense = _palette(label)
    scores = columns @ (rows @ dense.reshape(h, -1)).reshape(tokens[0], w, len(classes))
    outside = np.outer(row_cover, column_cover) < 0.5
    scores[outside] = 0
    if view.mirrored:
        scores, outside = scores[:, ::-1], outside[:, ::-1]
    if view.flipped:
        scores, outside = scores[::-1], outside[::-1]
    return TokenScores(classes, np.ascontiguousarray(scores), np.ascontiguousarray(outside))


def refuse_without_label(labels: LabelMap) -> None:
    """Refuse label maps, one or a batch, that tokens cannot be read from.

    Raises:
        LabelError: a picture has no label, or the scores are logits.
    """
    if labels.kind != "probability":
        raise LabelError(
            "the label's scores are logits, as another tool wrote them: they do not say what they leave to the other "
            "classes; tokenlabel.paper trains on them, and all else on probabilities only"
        )
    if (labels.status != Status.LABELLED).any():
        worst = int(labels.status[labels.status != Status.LABELLED].max())
        raise LabelError(f"the picture has no label: its status is {Status(worst).word}")
    refuse_nowhere(labels)


def refuse_nowhere(labels: LabelMap) -> None:
    """Refuse label maps, one or a batch, that are of no part of their picture.

    Raises:
        LabelError: a box is none.
    """
    if not covers_something(labels.boxes).all():
        raise LabelError(
            "a label does not say which part of its picture it covers; `annotate verify --deep` tells more"
        )


def covers_something(boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which boxes [..., 4] have an area, some of it within the picture: bool [...]."""
    finite = np.isfinite(boxes).all(-1)
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    meets = ((bottom_right > top_left) & (top_left < 1) & (bottom_right > 0)).all(-1)
    return np.asarray(finite & meets)


def axis_weights(
    start: float, stop: float, *, cells: int, tokens: int, reach: tuple[float, float] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The weight of each cell of an axis for each token that lies along it, and how much of each token has cells.

    Args:
        start, stop: what all tokens cover together, in cells; the axis runs from 0 to `cells`.
        cells, tokens: how many.
        reach: where the picture begins and ends, in cells; the axis' own ends by default.

    Returns:
        weights float32 [tokens, cells], each row summing to 1, and cover float64 [tokens] in [0, 1]. A token is weighed
        by its part inside the axis, or with `reach` inside the picture and no further than BEYOND from the axis.
    """
    least, most = (0, cells) if reach is None else (max(-BEYOND, reach[0]), min(cells + BEYOND, reach[1]))
    length = (stop - start) / tokens
    samples = max(1, int(np.ceil(length - ROUNDING)))
    edges = start + length * np.arange(tokens + 1)
    inside = np.clip(edges, least, most)
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


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Where the tokens are read of a picture that is more than a crop: each at a grid of points of its own.

    cells:  float64 [tokens_y · down, tokens_x · across, 2], the place of each point in cells of the label grid, (y, x)
    seen:   bool of the same points, whether it shows something of the picture
    inside: and whether the label map reaches that
    down, across: points of a token along each side: about one for each cell that the longest of them passes through
    """

    cells: NDArray[np.float64]
    seen: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    down: int
    across: int

    @classmethod
    def of(cls, label: LabelMap, warp: Warp, tokens: tuple[int, int]) -> Points:
        """The points of all tokens."""
        rows, columns = tokens
        corners, _ = warp.places(_lattice(np.linspace(0, 1, rows + 1), np.linspace(0, 1, columns + 1)))
        far = _in_cells(label, corners).reshape(rows + 1, columns + 1, 2)
        longest = [np.abs(np.diff(far, axis=axis)).max(initial=0) for axis in (0, 1)]
        down, across = (int(np.clip(np.ceil(length - ROUNDING), _LEAST_POINTS, _MOST_POINTS)) for length in longest)
        height, width = rows * down, columns * across
        places, seen = warp.places(_lattice((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width))
        cells = _in_cells(label, places)
        inside = seen & ((cells >= -BEYOND - ROUNDING) & (cells <= np.array(label.grid) + BEYOND + ROUNDING)).all(1)
        size = height, width
        return cls(cells.reshape(*size, 2), seen.reshape(size), inside.reshape(size), down, across)

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Tokens that show something of the picture at all points, bool [tokens_y, tokens_x].

        Of a picture that was only cropped, padded and erased, they are read as those of the crop.
        """
        height, width = self.seen.shape
        of_token = self.seen.reshape(height // self.down, self.down, width // self.across, self.across)
        whole: NDArray[np.bool_] = np.asarray(of_token.all((1, 3)))
        return whole


def _align_warped(label: LabelMap, warp: Warp, tokens: tuple[int, int]) -> TokenScores:
    (h, w), (rows, columns), points = label.grid, tokens, Points.of(label, warp, tokens)
    number = np.arange(rows).repeat(points.down)[:, None] * columns + np.arange(columns).repeat(points.across)
    token = number[points.inside]
    # As along an axis: a cell has its centre at i + 1/2, and what lies beyond the outermost is taken from them.
    at = np.clip(points.cells[points.inside] - 0.5, 0, np.array([h - 1, w - 1]))
    low = np.floor(at).astype(np.intp)
    high, part = np.minimum(low + 1, [h - 1, w - 1]), at - low
    weights = np.zeros(rows * columns * h * w)
    for i, v in ((low[:, 0], 1 - part[:, 0]), (high[:, 0], part[:, 0])):
        for j, u in ((low[:, 1], 1 - part[:, 1]), (high[:, 1], part[:, 1])):
            weights += np.bincount((token * h + i) * w + j, v * u, minlength=len(weights))
    count = np.bincount(token, minlength=rows * columns)
    outside = count < 0.5 * points.down * points.across
    weights = weights.reshape(rows * columns, h * w) / np.maximum(count, 1)[:, None]
    weights[outside] = 0
    classes, dense = _palette(label)
    scores = (weights.astype(np.float32) @ dense.reshape(h * w, -1)).reshape(rows, columns, -1)
    outside = outside.reshape(rows, columns)
    if frame := warp.frame:
        whole, of_crop = points.whole, _align_crop(label, frame, tokens)
        scores[whole], outside[whole] = of_crop.scores[whole], of_crop.outside[whole]
    return TokenScores(classes, scores, outside)


def _lattice(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """All points (y, x) [n, 2], row by row."""
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)


def _in_cells(label: LabelMap, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places [n, 2] of the source picture in cells of its label grid."""
    box = label.box
    within: NDArray[np.float64] = (places - [box.top, box.left]) / [box.height, box.width] * label.grid
    return within
