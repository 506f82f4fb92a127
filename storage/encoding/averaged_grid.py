"""What are the labels of a coarser grid? At each location, the mean over the area that it covers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.labelmap import no_class


def averaged(
    classes: NDArray[np.unsignedinteger], probabilities: NDArray[np.floating[Any]], grid: tuple[int, int], k: int
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float32]]:
    """The k best classes of the mean over the area of each location of the grid, and their probabilities.

    The grids divide the same box, so a location may cover parts of several; each counts with the area that is covered.
    The mean of a class is that of its stored probabilities: where it was not among the best of a location, its part is
    in the remainder, and stays there.

    Args:
        classes: [n, h, w, k'], best first.
        probabilities: [n, h, w, k'], 0 where there is no class.
        grid: rows and columns, at most h and w.
        k: classes at each location, at most those that the locations which one covers can have together.

    Returns:
        classes [n, *grid, k], equally probable ones by their ids, and their probabilities, float32.

    Raises:
        ValueError: the grid is finer.
    """
    n, h, w, _ = classes.shape
    if grid[0] > h or grid[1] > w:
        raise ValueError(f"a grid of {h} x {w} cannot be averaged to one of {grid[0]} x {grid[1]}: it is finer")
    nothing = no_class(classes.dtype)
    best = np.full((n, *grid, k), nothing, classes.dtype)
    found = np.zeros((n, *grid, k), np.float32)
    rows, columns = _covered(h, grid[0]), _covered(w, grid[1])
    for y, (top, bottom, of_rows) in enumerate(rows):
        for x, (left, right, of_columns) in enumerate(columns):
            parts = probabilities[:, top:bottom, left:right].astype(np.float64)
            parts *= (of_rows[:, None] * of_columns)[..., None]
            ids = classes[:, top:bottom, left:right].reshape(n, -1)
            ids, sums = _by_class(ids, parts.reshape(n, -1))
            order = np.argsort(-sums, axis=-1, kind="stable")[:, :k]
            kept = np.take_along_axis(sums, order, -1)
            best[:, y, x, : order.shape[1]] = np.where(kept > 0, np.take_along_axis(ids, order, -1), nothing)
            found[:, y, x, : order.shape[1]] = kept
    return best, found


def _covered(fine: int, coarse: int) -> list[tuple[int, int, NDArray[np.float64]]]:
    """For each of the coarse intervals: the first and past the last fine one that it covers, and the fraction of each.

    Examples:
        >>> [(first, last, parts.round(3).tolist()) for first, last, parts in _covered(3, 2)]
        [(0, 2, [0.667, 0.333]), (1, 3, [0.333, 0.667])]
    """
    intervals = []
    for number in range(coarse):
        # In units of 1 / (fine * coarse) all edges are whole numbers.
        start, stop = number * fine, (number + 1) * fine
        first, last = start // coarse, -(-stop // coarse)
        edges = np.arange(first, last) * coarse
        overlap = np.minimum(edges + coarse, stop) - np.maximum(edges, start)
        intervals.append((first, last, overlap / fine))
    return intervals


def _by_class(
    ids: NDArray[np.unsignedinteger], parts: NDArray[np.float64]
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float64]]:
    """The ids in order, and at the first place of each the sum of its parts; 0 at the others: [n, m] each."""
    order = np.argsort(ids, axis=-1, kind="stable")
    ids, parts = np.take_along_axis(ids, order, -1), np.take_along_axis(parts, order, -1)
    first = np.ones(ids.shape, bool)
    first[:, 1:] = ids[:, 1:] != ids[:, :-1]
    sums = np.zeros(parts.shape)
    if parts.size:
        sums[first] = np.add.reduceat(parts.ravel(), np.flatnonzero(first))
    return ids, sums
