"""Where in the source does a point of a rotated, bent, padded or erased picture come from? A Warp says it, by stages.

Most training pictures need only a `View`, a crop and a mirror. A whole pipeline of transforms is a chain of stages,
each of which maps every point of its result back to the picture that the stage was given:

    source ──stage 1──▶ canvas ──stage 2──▶ canvas ──…──▶ training picture
      (y, x) ◀─────────── (y, x) ◀─────────── (y, x)            all in unit coordinates

A point shows nothing of the source if any stage took it from outside the picture that it was given, or erased it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from storage import Box
from tokenlabel.geometry.view import View

_ROUNDING = 1e-9
_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One change of geometry, from its result back to the picture that it was given.

    matrix:       float64 [3, 3], takes (y, x, 1) of the result's unit square to that of the given picture, as
                  homogeneous coordinates
    displacement: float32 [H, W, 2], added to that point at the centres of the result's pixels, (y, x) in unit
                  coordinates of the given picture, and interpolated bilinearly between them; or None
    holes:        parts of the result that show nothing
    """

    matrix: NDArray[np.float64]
    displacement: NDArray[np.float32] | None = None
    holes: tuple[Box, ...] = ()

    def trace_back(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where points [n, 2] of the result were in the given picture: [n, 2], and whether they were inside it."""
        whole = np.concatenate([points, np.ones((len(points), 1))], 1) @ self.matrix.T
        before_camera = whole[:, 2] > 0  # otherwise a perspective has moved the point behind the camera
        given = whole[:, :2] / np.where(before_camera, whole[:, 2], 1)[:, None]
        if self.displacement is not None:
            given = given + _between(self.displacement, points)
        inside = before_camera & ((given >= -_ROUNDING) & (given <= 1 + _ROUNDING)).all(1)
        for hole in self.holes:
            inside &= ~_within(points, hole)
        return given, inside

    @property
    def is_plain(self) -> bool:
        """Whether it is only a matrix, and takes no point from outside the picture that it was given."""
        if self.displacement is not None or self.holes:
            return False
        # In plain numbers: of so few points numpy would take several times as long.
        (a, b, c), (d, e, f), (g, h, i) = self.matrix.tolist()
        for y, x in _CORNERS:
            depth = g * y + h * x + i
            low, high = -_ROUNDING * depth, (1 + _ROUNDING) * depth
            if not (depth > 0 and low <= a * y + b * x + c <= high and low <= d * y + e * x + f <= high):
                return False
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """A chain of stages, from the source picture to the training picture. Immutable; each method gives a longer one."""

    stages: tuple[Stage, ...] = ()

    def __repr__(self) -> str:
        return f"Warp(stages={len(self.stages)})"

    @classmethod
    def of(cls, view: View) -> Warp:
        """The warp of a crop and a mirror."""
        warp = cls().cropped(view.box)
        warp = warp.mirrored() if view.mirrored else warp
        return warp.flipped() if view.flipped else warp

    def then(self, stage: Stage) -> Warp:
        """The warp with one more stage."""
        if self.stages and stage.is_plain:
            # It takes no point from outside the last stage's result: the two can be one stage.
            last = self.stages[-1]
            if last.displacement is None and not last.holes:
                return Warp((*self.stages[:-1], Stage(last.matrix @ stage.matrix)))
        return Warp((*self.stages, stage))

    def transformed(self, matrix: NDArray[np.float64]) -> Warp:
        """The warp after a matrix [3, 3], from unit coordinates (y, x, 1) of the result to the given picture's."""
        return self.then(Stage(np.asarray(matrix, np.float64)))

    def cropped(self, box: Box) -> Warp:
        """The warp after a crop; what reaches beyond the picture shows nothing."""
        return self.transformed(np.array([[box.height, 0, box.top], [0, box.width, box.left], [0, 0, 1]]))

    def mirrored(self) -> Warp:
        """The warp after mirroring left to right."""
        return self.transformed(np.array([[1, 0, 0], [0, -1, 1], [0, 0, 1]]))

    def flipped(self) -> Warp:
        """The warp after flipping top to bottom."""
        return self.transformed(np.array([[-1, 0, 1], [0, 1, 0], [0, 0, 1]]))

    def bent(self, displacement: NDArray[np.float32]) -> Warp:
        """The warp after adding a displacement [H, W, 2] to each point; see `Stage`."""
        return self.then(Stage(np.eye(3), displacement))

    def erased(self, hole: Box) -> Warp:
        """The warp after painting over a part of the picture."""
        if self.stages and self.stages[-1].holes and self.stages[-1].displacement is None:
            last = self.stages[-1]
            if np.array_equal(last.matrix, np.eye(3)):
                return Warp((*self.stages[:-1], Stage(last.matrix, holes=(*last.holes, hole))))
        return Warp((*self.stages, Stage(np.eye(3), holes=(hole,))))

    def trace_back(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where these points of the training picture are in the source picture.

        Args:
            points: float64 [n, 2], (y, x) in the training picture's unit square.

        Returns:
            float64 [n, 2] in the source's unit square, and bool [n], whether the point shows something of the source.
        """
        inside = np.ones(len(points), bool)
        for stage in reversed(self.stages):
            points, seen = stage.trace_back(points)
            inside &= seen
        return points, inside

    @property
    def view(self) -> View | None:
        """The same as a `View`, if it is only a crop, mirrored or flipped; otherwise None."""
        return self.frame if all(stage.is_plain for stage in self.stages) else None

    @property
    def frame(self) -> View | None:
        """The same as a `View`, padding included, if it neither rotates nor bends, else None. Holes are ignored."""
        if any(stage.displacement is not None for stage in self.stages):
            return None
        matrix = reduce(np.matmul, (stage.matrix for stage in self.stages)) if self.stages else np.eye(3)
        (height, b, y), (d, width, x), (g, h, _) = (matrix / matrix[2, 2]).tolist()
        if max(abs(b), abs(d), abs(g), abs(h)) > _ROUNDING or not height or not width:
            return None
        top, left = y + min(height, 0), x + min(width, 0)
        box = Box(top, left, top + abs(height), left + abs(width))
        return View(box, mirrored=width < 0, flipped=height < 0)


def in_unit_coordinates(
    matrix: NDArray[np.float64], *, result: tuple[int, int], given: tuple[int, int]
) -> NDArray[np.float64]:
    """A matrix in unit coordinates, from the same in pixels.

    Args:
        matrix: float64 [3, 3], takes (y, x, 1) of the result to the given picture, in pixels; the picture's corner is
            at 0, and the centre of its first pixel at 0.5.
        result, given: height and width of both, pixels.
    """
    to_pixels = np.diag([result[0], result[1], 1.0])
    to_unit = np.diag([1 / given[0], 1 / given[1], 1.0])
    unit: NDArray[np.float64] = to_unit @ matrix @ to_pixels
    return unit


def _within(points: NDArray[np.float64], box: Box) -> NDArray[np.bool_]:
    y, x = points.T
    within: NDArray[np.bool_] = (y >= box.top) & (y < box.bottom) & (x >= box.left) & (x < box.right)
    return within


def _between(field: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A field [H, W, 2], given at the centres of pixels, interpolated at points [n, 2] in unit coordinates."""
    size = np.array(field.shape[:2])
    at = np.clip(points * size - 0.5, 0, size - 1)
    low = np.minimum(np.floor(at).astype(np.intp), np.maximum(size - 2, 0))
    high = np.minimum(low + 1, size - 1)
    part = at - low
    (y0, x0), (y1, x1), (v, u) = low.T, high.T, part.T[..., None]
    found: NDArray[np.float64] = (1 - v) * ((1 - u) * field[y0, x0] + u * field[y0, x1]) + v * (
        (1 - u) * field[y1, x0] + u * field[y1, x1]
    )
    return found
