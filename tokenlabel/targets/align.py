"""What does a label map say of each token of a training picture? ROI-align, without a dense [classes, h, w] map.

A token sees a rectangle of the source picture: storage/alignment/region.py says what its scores are.

A token of a picture that was rotated or bent does not see a rectangle, and one that was padded or erased in part sees
less than its rectangle. Such tokens are read at the points of a regular grid, each wherever it lies in the source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage import LabelMap, Status
from storage.alignment.region import BEYOND, ROUNDING, palette, region_scores
from tokenlabel.errors import LabelError
from tokenlabel.geometry.view import View
from tokenlabel.geometry.warp import Warp

_LEAST_POINTS, _MOST_POINTS = 4, 32  # along each side of a token that is not a rectangle in its source


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """The probabilities of the classes of one picture at each of its tokens.

    classes: [p], ids, ascending
    scores:  float32 [tokens_y, tokens_x, p]; what they leave out of 1 is the remainder
    outside: bool [tokens_y, tokens_x], tokens of which more than half lies beyond the label map or shows nothing of the
             picture: their scores are 0
    """

    classes: NDArray[np.unsignedinteger]
    scores: NDArray[np.float32]
    outside: NDArray[np.bool_]

    def __repr__(self) -> str:
        rows, columns, p = self.scores.shape
        return f"TokenScores(tokens={rows}x{columns}, classes={p})"


def align(label: LabelMap, view: View | Warp, tokens: tuple[int, int]) -> TokenScores:
    """The scores of each token of a training picture.

    Args:
        label: the label of one source picture, [h, w, k].
        view: how the training picture was made of it.
        tokens: rows and columns of tokens; (1, 1) is the picture as a whole.

    Raises:
        LabelError: the picture has no label, or its scores are logits.

    Example:
        >>> classes = np.uint16([[[3], [7]]])  # a grid of 1x2 locations, k = 1: class 3 left, class 7 right
        >>> scores, box = np.float32([[[1.0], [1.0]]]), np.float32([0, 0, 1, 1])
        >>> label = LabelMap(classes, scores, box, np.uint32([48, 64]), np.array(Status.LABELLED, np.uint8))
        >>> from storage import Box
        >>> found = align(label, View(Box(0, 0, 1, 0.5)), (1, 1))  # a crop: the left half
        >>> found.classes.tolist(), found.scores.round(2).tolist()
        ([3, 7], [[[1.0, 0.0]]])
    """
    check_labelled(label)
    if isinstance(view, Warp):
        crop = view.view
        return _align_crop(label, crop, tokens) if crop else _align_warped(label, view, tokens)
    return _align_crop(label, view, tokens)


def _align_crop(label: LabelMap, view: View, tokens: tuple[int, int]) -> TokenScores:
    classes, scores, outside = region_scores(label, view.box, tokens)
    if view.mirrored:
        scores, outside = scores[:, ::-1], outside[:, ::-1]
    if view.flipped:
        scores, outside = scores[::-1], outside[::-1]
    return TokenScores(classes, np.ascontiguousarray(scores), np.ascontiguousarray(outside))


def check_labelled(labels: LabelMap) -> None:
    """Check that tokens can be read from label maps, one or a batch.

    Raises:
        LabelError: a picture has no label, or the scores are logits.
    """
    if labels.kind != "probability":
        raise LabelError(
            "the label's scores are logits, as another tool wrote them, and do not say how probable the other classes "
            "are; train on them with the rule tokenlabel.Paper"
        )
    if (labels.status != Status.LABELLED).any():
        worst = int(labels.status[labels.status != Status.LABELLED].max())
        raise LabelError(f"the picture has no label: its status is {Status(worst).word}; leave it out")
    check_boxes(labels)


def check_boxes(labels: LabelMap) -> None:
    """Check that label maps, one or a batch, say which part of their picture they cover.

    Raises:
        LabelError: a box has no area within the picture.
    """
    if not covers_something(labels.boxes).all():
        raise LabelError(
            "a label does not say which part of its picture it covers; run `annotate verify --deep` on its store to "
            "see what is damaged"
        )


def covers_something(boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which boxes [..., 4] have an area, some of it within the picture: bool [...]."""
    finite = np.isfinite(boxes).all(-1)
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    meets = ((bottom_right > top_left) & (top_left < 1) & (bottom_right > 0)).all(-1)
    return np.asarray(finite & meets)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """The points at which tokens are read if a picture was not only cropped: each token has its own grid of points.

    cells:  float64 [tokens_y · down, tokens_x · across, 2], each point in cells of the label grid, (y, x)
    seen:   bool, whether each point shows something of the picture
    inside: bool, whether in addition the label map reaches it
    down, across: points of a token along each side: about as many as the longest side of a token is cells long
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
        corners, _ = warp.trace_back(_lattice(np.linspace(0, 1, rows + 1), np.linspace(0, 1, columns + 1)))
        far = _in_cells(label, corners).reshape(rows + 1, columns + 1, 2)
        longest = [np.abs(np.diff(far, axis=axis)).max(initial=0) for axis in (0, 1)]
        down, across = (int(np.clip(np.ceil(length - ROUNDING), _LEAST_POINTS, _MOST_POINTS)) for length in longest)
        height, width = rows * down, columns * across
        sources, seen = warp.trace_back(_lattice((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width))
        cells = _in_cells(label, sources)
        inside = seen & ((cells >= -BEYOND - ROUNDING) & (cells <= np.array(label.grid) + BEYOND + ROUNDING)).all(1)
        size = height, width
        return cls(cells.reshape(*size, 2), seen.reshape(size), inside.reshape(size), down, across)

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Tokens that show something of the picture at all points, bool [tokens_y, tokens_x].

        If the picture was only cropped, padded and erased, these tokens are read as those of the crop.
        """
        height, width = self.seen.shape
        of_token = self.seen.reshape(height // self.down, self.down, width // self.across, self.across)
        whole: NDArray[np.bool_] = np.asarray(of_token.all((1, 3)))
        return whole


def _align_warped(label: LabelMap, warp: Warp, tokens: tuple[int, int]) -> TokenScores:
    (h, w), (rows, columns), points = label.grid, tokens, Points.of(label, warp, tokens)
    number = np.arange(rows).repeat(points.down)[:, None] * columns + np.arange(columns).repeat(points.across)
    token = number[points.inside]
    # As along an axis: a cell has its centre at i + 1/2, and points beyond the outermost centres take the value there.
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
    classes, dense = palette(label)
    scores = (weights.astype(np.float32) @ dense.reshape(h * w, -1)).reshape(rows, columns, -1)
    outside = outside.reshape(rows, columns)
    if frame := warp.frame:
        whole, of_crop = points.whole, _align_crop(label, frame, tokens)
        scores[whole], outside[whole] = of_crop.scores[whole], of_crop.outside[whole]
    return TokenScores(classes, scores, outside)


def _lattice(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """All points (y, x) [n, 2], row by row."""
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)


def _in_cells(label: LabelMap, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [n, 2] of the source picture in cells of its label grid."""
    box = label.box
    within: NDArray[np.float64] = (points - [box.top, box.left]) / [box.height, box.width] * label.grid
    return within
