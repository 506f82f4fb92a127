"""How is a batch of crops aligned in microseconds? One compiled loop from label cells to the likeliest classes.

It gives what `align` gives, as tests check. A token of a crop sees few cells: its scores are sums over these, without a
dense map of all classes or of the picture's classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from storage import LabelMap
from storage.alignment.region import BEYOND, MOST_POINTS, ROUNDING
from storage.labelmap import no_class
from tokenlabel.geometry.view import View
from tokenlabel.geometry.warp import Warp
from tokenlabel.targets.align import Points
from tokenlabel.targets.sparse import SparseTargets

_MOST = 2**16  # up to so many classes, one number is kept for each possible class id
_NO_LOGIT = 1e300


def cropped_targets(labels: LabelMap, views: Sequence[View], tokens: tuple[int, int], keep: int) -> SparseTargets:
    """The targets of b crops.

    Args:
        labels: labels of b pictures, [b, h, w, k], all labelled, with probabilities.
        views, tokens, keep: as `tokenlabel.sparse_targets` takes them.
    """
    return _targets(labels, views, tokens, keep, softmax_over=0)


def published_targets(
    labels: LabelMap, views: Sequence[View], tokens: tuple[int, int], keep: int, *, class_count: int
) -> SparseTargets:
    """The same for logits, as the published method reads them: see `tokenlabel.targets.paper`.

    Points are those of `torchvision.ops.roi_align`: of the whole token; up to half a cell beyond the map they have the
    value at its edge, and further out 0. Then a softmax over all classes; a class that none of a token's cells names
    has logit 0.
    """
    return _targets(labels, views, tokens, keep, softmax_over=class_count)


def _targets(
    labels: LabelMap, views: Sequence[View], tokens: tuple[int, int], keep: int, *, softmax_over: int
) -> SparseTargets:
    count, (h, w) = len(views), labels.grid
    seen = np.array([view.box.edges for view in views], np.float64).reshape(count, 4)
    turned = np.array([(view.mirrored, view.flipped) for view in views], np.bool_).reshape(count, 2)
    boxes = labels.boxes.astype(np.float64)
    origin, size = boxes[:, [0, 1, 0, 1]], (boxes[:, 2:] - boxes[:, :2])[:, [0, 1, 0, 1]]
    cells = np.array([h, w, h, w])
    regions = (seen - origin) / size * cells
    reach = np.clip((np.array([0.0, 0.0, 1.0, 1.0]) - origin) / size * cells, -BEYOND, cells + BEYOND)
    found = SparseTargets.blank(count, 1 + tokens[0] * tokens[1], keep=keep)
    unmet = _NO_LOGIT if softmax_over else 0.0
    known, mass = _known(labels, unmet)
    for rows, columns, start in ((1, 1, 0), (*tokens, 1)):
        _align(
            known, np.ascontiguousarray(labels.scores, np.float32), regions, reach, turned,
            rows, columns, mass, unmet, softmax_over, *(part[:, start:] for part in found),
        )  # fmt: skip
    return found


def warped_targets(label: LabelMap, warp: Warp, tokens: tuple[int, int], keep: int) -> SparseTargets:
    """The same for one picture [h, w, k] that was rotated, bent, padded or erased, without the first axis."""
    found = SparseTargets.blank(1 + tokens[0] * tokens[1], keep=keep)
    known, mass = _known(label, 0.0)
    whole = np.zeros(len(found.outside), np.bool_)
    for grid, start in (((1, 1), 0), (tokens, 1)):
        points = Points.of(label, warp, grid)
        whole[start : start + grid[0] * grid[1]] = points.whole.ravel()
        _read(
            known, label.scores, points.cells, points.inside, points.down, points.across, mass,
            *(part[start:] for part in found),
        )  # fmt: skip
    if (frame := warp.frame) and whole.any():
        for all_of, of_crop in zip(found, cropped_targets(LabelMap.stack([label]), [frame], tokens, keep), strict=True):
            all_of[whole] = of_crop[0, whole]
    return found


def _known(labels: LabelMap, unmet: float) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float64]]:
    """The class numbers, and an initial mass for each: `unmet`, except for "no class", which must not be counted."""
    known, nothing = labels.classes, no_class(labels.classes.dtype)
    if nothing >= _MOST:
        beyond = int(known[known != nothing].max(initial=0)) + 1
        known, nothing = np.where(known == nothing, np.uint32(beyond), known), beyond
    mass = np.full(nothing + 1, unmet, np.float64)
    mass[nothing] = 1
    return np.ascontiguousarray(known), mass


@njit(cache=True, nogil=True)
def _align(  # type: ignore[no-untyped-def]
    labels, scores, regions, reach, turned, rows, columns, mass, unmet, softmax_over, classes, probabilities, outside
):
    """Fill the likeliest classes of all tokens of a grid; `mass` [C] is `unmet` before and after."""
    count, h, w, k = labels.shape
    down, across = np.zeros((rows, h)), np.zeros((columns, w))
    row_ends, column_ends = np.zeros((rows, 2), np.int64), np.zeros((columns, 2), np.int64)
    row_cover, column_cover = np.zeros(rows), np.zeros(columns)
    met = np.empty(h * w * k + 1, np.int32)
    for n in range(count):
        of_picture, shares = labels[n].reshape(h * w * k), scores[n].reshape(h * w * k)
        top, left, bottom, right = regions[n]
        if softmax_over:
            _published_axis(top, bottom, down, row_ends, row_cover)
            _published_axis(left, right, across, column_ends, column_cover)
        else:
            _axis(top, bottom, reach[n, 0], reach[n, 2], down, row_ends, row_cover)
            _axis(left, right, reach[n, 1], reach[n, 3], across, column_ends, column_cover)
        for i in range(rows):
            for j in range(columns):
                position = (rows - 1 - i if turned[n, 1] else i) * columns + (columns - 1 - j if turned[n, 0] else j)
                outside[n, position] = row_cover[i] * column_cover[j] < 0.5
                if outside[n, position]:
                    continue
                number = 0
                for y in range(row_ends[i, 0], row_ends[i, 1]):
                    for x in range(column_ends[j, 0], column_ends[j, 1]):
                        weight = down[i, y] * across[j, x]
                        if weight == 0:
                            continue
                        cell = np.uint64((y * w + x) * k)  # unsigned: a signed index is checked each time
                        for entry in range(cell, cell + np.uint64(k)):
                            known = of_picture[entry]
                            before = mass[known]
                            met[number] = known
                            number += before == unmet  # without a branch, which a processor could not predict
                            mass[known] = (0.0 if before == unmet else before) + weight * shares[entry]
                if softmax_over:
                    _softmax(mass, met[:number], softmax_over)
                _likeliest(mass, met[:number], unmet, classes[n, position], probabilities[n, position])


@njit(cache=True, nogil=True)
def _read(labels, scores, cells, inside, down, across, mass, classes, probabilities, outside):  # type: ignore[no-untyped-def]
    """Fill the likeliest classes of tokens that are read at points; `mass` [C] is 0 before and after."""
    h, w, k = labels.shape
    rows, columns = cells.shape[0] // down, cells.shape[1] // across
    met = np.empty(h * w * k + 1, np.int32)
    for i in range(rows):
        for j in range(columns):
            position, number, count = i * columns + j, 0, 0
            for a in range(i * down, (i + 1) * down):
                for b in range(j * across, (j + 1) * across):
                    if not inside[a, b]:
                        continue
                    count += 1
                    y, x = min(max(cells[a, b, 0] - 0.5, 0.0), h - 1.0), min(max(cells[a, b, 1] - 0.5, 0.0), w - 1.0)
                    top, left = int(y), int(x)
                    for row in range(top, min(top + 2, h)):
                        for column in range(left, min(left + 2, w)):
                            weight = (1 - abs(y - row)) * (1 - abs(x - column))
                            if weight <= 0:
                                continue
                            for rank in range(k):
                                known = labels[row, column, rank]
                                before = mass[known]
                                met[number] = known
                                number += before == 0
                                mass[known] = before + weight * scores[row, column, rank]
            outside[position] = count < 0.5 * down * across
            for n in range(number):
                mass[met[n]] = 0.0 if outside[position] else mass[met[n]] / count
            _likeliest(mass, met[: 0 if outside[position] else number], 0.0, classes[position], probabilities[position])


@njit(cache=True, nogil=True, inline="always")
def _axis(start, stop, least, most, weights, ends, cover):  # type: ignore[no-untyped-def]
    """Like `align.axis_weights`, into `weights` and `cover`; `ends` gets the first and last cell of each token."""
    tokens, cells = weights.shape
    length = (stop - start) / tokens
    samples = int(min(max(1.0, np.ceil(length - ROUNDING)), MOST_POINTS))
    for token in range(tokens):
        weights[token] = 0
        low = min(max(start + length * token, least), most)
        high = min(max(start + length * (token + 1), least), most)
        cover[token] = (high - low) / length
        first, last = cells, 0
        for sample in range(samples):
            below, above = _add(weights, token, low + (high - low) * (sample + 0.5) / samples - 0.5, samples)
            first, last = min(first, below), max(last, above + 1)
        ends[token, 0], ends[token, 1] = first, last


@njit(cache=True, nogil=True, inline="always")
def _add(weights, token, at, samples):  # type: ignore[no-untyped-def]
    """Add a sample's weights to the two cells between whose centres it lies; return these cells."""
    cells = weights.shape[1]
    at = min(max(at, 0.0), cells - 1.0)
    below = int(at)
    above = min(below + 1, cells - 1)
    weights[token, below] += (1 - (at - below)) / samples
    weights[token, above] += (at - below) / samples
    return below, above


@njit(cache=True, nogil=True, inline="always")
def _published_axis(start, stop, weights, ends, cover):  # type: ignore[no-untyped-def]
    """The same as roi_align does it: no token is outside, whatever it sees."""
    tokens, cells = weights.shape
    length = (stop - start) / tokens
    samples = int(min(max(1.0, np.ceil(length - ROUNDING)), MOST_POINTS))
    for token in range(tokens):
        weights[token] = 0
        cover[token] = 1
        first, last = cells, 0
        for sample in range(samples):
            at = start + length * (token + (sample + 0.5) / samples) - 0.5
            if at < -1 or at > cells:
                continue
            below, above = _add(weights, token, at, samples)
            first, last = min(first, below), max(last, above + 1)
        ends[token, 0], ends[token, 1] = first, last


@njit(cache=True, nogil=True)
def _softmax(mass, met, count):  # type: ignore[no-untyped-def]
    """The logits of the classes that were met become probabilities among `count` classes; the others have logit 0."""
    largest = 0.0
    for known in met:
        largest = max(largest, mass[known])
    total = (count - len(met)) * np.exp(-largest)
    for known in met:
        mass[known] = np.exp(mass[known] - largest)
        total += mass[known]
    for known in met:
        mass[known] /= total


@njit(cache=True, nogil=True)
def _likeliest(mass, met, unmet, classes, probabilities):  # type: ignore[no-untyped-def]
    """The classes with the largest masses among those met, in the order of `met`; all masses become `unmet`."""
    keep, kept, worst = len(classes), 0, 0
    for known in met:
        value = np.float32(mass[known])
        mass[known] = unmet
        if kept < keep:
            classes[kept], probabilities[kept] = known, value
            kept += 1
        elif value > probabilities[worst] or (value == probabilities[worst] and known < classes[worst]):
            classes[worst], probabilities[worst] = known, value
        else:
            continue
        if kept == keep:  # full: find the one to replace next
            worst = 0
            for m in range(1, keep):
                if probabilities[m] < probabilities[worst] or (
                    probabilities[m] == probabilities[worst] and classes[m] > classes[worst]
                ):
                    worst = m
