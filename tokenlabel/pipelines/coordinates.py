"""How does a library that tells where it moved pixels say it to a label? By a matrix, or by a map of coordinates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokenlabel.errors import LabelError
from tokenlabel.geometry.warp import Warp, in_unit_coordinates

_FAR = 1e3  # from the source, in units of its size
# From pixels (x, y, 1) counted at their centres to (y, x, 1) counted at their edges, where pixel 0 ends at 1.
_TO_EDGES = np.array([[0, 1, 0.5], [1, 0, 0.5], [0, 0, 1.0]])


def from_matrix(matrix: ArrayLike, *, source: tuple[int, int], result: tuple[int, int]) -> Warp:
    """The warp of a picture that a 3x3 matrix made of its source, as kornia and OpenCV give it.

    Args:
        matrix: [3, 3], from pixels (x, y, 1) of the source to pixels of the result, where (0, 0) is the centre of the
            first: what kornia calls `transform_matrix`, one of each picture.
        source: height and width of the picture that was moved, pixels.
        result: height and width of the training picture.

    Raises:
        LabelError: it is not a 3x3 matrix that can be inverted.

    Example:
        >>> mirrored = from_matrix([[-1, 0, 7], [0, 1, 0], [0, 0, 1]], source=(8, 8), result=(8, 8))
        >>> mirrored.trace_back(np.array([[0.5, 0.25]]))[0].round(6).tolist()  # the right side of the source
        [[0.5, 0.75]]
    """
    given = np.asarray(matrix, np.float64)
    if given.shape != (3, 3) or not np.isfinite(given).all() or abs(np.linalg.det(given)) < 1e-12:
        raise LabelError(
            "from_matrix takes one 3x3 matrix from pixels (x, y, 1) of the source to those of the result, which can be "
            f"inverted, not one of {list(given.shape)}{' that cannot' if given.shape == (3, 3) else ''}; of a batch, "
            "give one at a time"
        )
    back = _TO_EDGES @ np.linalg.inv(given) @ np.linalg.inv(_TO_EDGES)
    return Warp().transformed(in_unit_coordinates(back, result=result, given=source))


def coordinate_map(source: tuple[int, int]) -> NDArray[np.float32]:
    """A map float32 [H, W, 3] that says of each pixel of a source where it is: (y, x, 1) of its centre, in [0, 1].

    It goes through the same transforms as the picture, and is filled with 0 where they show nothing of the source; then
    `from_coordinates` reads it. The 1 shows how much of a pixel was interpolated with the filling.

    Example:
        >>> coordinate_map((1, 2)).tolist()
        [[[0.5, 0.25, 1.0], [0.5, 0.75, 1.0]]]
    """
    height, width = source
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    return np.stack([*np.meshgrid(y, x, indexing="ij"), np.ones(source)], -1).astype(np.float32)


def from_coordinates(coordinates: ArrayLike) -> Warp:
    """The warp of a picture whose `coordinate_map` went through the same transforms: of albumentations, for example.

    Args:
        coordinates: float [H, W, 3], a pixel for each of the training picture. Where the third is below 0.5, the pixel
            shows nothing of the source.

    Raises:
        LabelError: another shape, or a map without a pixel of the source.

    Example:
        >>> whole = coordinate_map((4, 4))
        >>> from_coordinates(whole[:, ::-1]).trace_back(np.array([[0.5, 0.125]]))[0].round(4).tolist()
        [[0.5, 0.875]]
    """
    found = np.asarray(coordinates, np.float64)
    if found.ndim != 3 or found.shape[2] != 3:
        raise LabelError(
            f"from_coordinates takes a map [H, W, 3], what coordinate_map(size) became, not {list(found.shape)}"
        )
    height, width = found.shape[:2]
    seen = found[..., 2] >= 0.5
    if not seen.any():
        raise LabelError(
            "from_coordinates was given a map that shows no pixel of the source; give that of coordinate_map"
        )
    places = found[..., :2] / np.where(seen, found[..., 2], 1)[..., None]
    here = coordinate_map((height, width))[..., :2]
    # What shows nothing is taken from far outside of the source.
    moved = np.where(seen[..., None], places - here, _FAR)
    return Warp().bent(moved.astype(np.float32))
