"""How does each of torchvision's functions change where pixels come from? A PixelWarp records the same change.

Its methods are named after the functions of torchvision.transforms.v2.functional, and take the same arguments; those
that do not matter to geometry are ignored. Pixels are counted from their edges: a picture's corner is at 0, and the
centre of its first pixel at 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional

from storage import Box
from tokenlabel.geometry.warp import Warp, in_unit_coordinates


@dataclass(frozen=True, slots=True, eq=False)
class PixelWarp:
    """A warp, and how many pixels its picture has.

    warp:   from the picture to its source
    size:   height and width of the picture, pixels
    pillow: whether it is a PIL picture; PIL rounds the size of a rotated picture in its own way
    """

    warp: Warp
    size: tuple[int, int]
    pillow: bool = False

    def horizontal_flip(self) -> PixelWarp:
        """Left and right swapped."""
        return replace(self, warp=self.warp.mirrored())

    def vertical_flip(self) -> PixelWarp:
        """Top and bottom swapped."""
        return replace(self, warp=self.warp.flipped())

    def resize(
        self,
        size: Sequence[int] | int | None,
        interpolation: Any = None,
        max_size: int | None = None,
        antialias: Any = None,
    ) -> PixelWarp:
        """The same in another size."""
        if isinstance(size, Sequence) and len(size) == 2:
            return replace(self, size=(size[0], size[1]))
        return replace(self, size=_size_of(functional.resize(self._shadow(), size, max_size=max_size)))

    def crop(self, top: int, left: int, height: int, width: int) -> PixelWarp:
        """A part, which may reach beyond the picture."""
        box = Box.from_pixels(top, left, height, width, self.size)
        return replace(self, warp=self.warp.cropped(box), size=(height, width))

    def resized_crop(
        self,
        top: int,
        left: int,
        height: int,
        width: int,
        size: Sequence[int] | int,
        interpolation: Any = None,
        antialias: Any = None,
    ) -> PixelWarp:
        """A part in another size."""
        return self.crop(top, left, height, width).resize(size)

    def center_crop(self, output_size: Sequence[int] | int) -> PixelWarp:
        """The middle, padded where the picture is smaller."""
        sides = [output_size] if isinstance(output_size, int) else output_size
        wanted = (sides[0], sides[-1])
        # A smaller side is padded, less at its start; a larger one is cut at a half rounded to even.
        top, left = (
            -((want - have) // 2) if want > have else round((have - want) / 2)
            for want, have in zip(wanted, self.size, strict=True)
        )
        return self.crop(top, left, *wanted)

    def pad(self, padding: Sequence[int] | int, fill: Any = None, padding_mode: str = "constant") -> PixelWarp:
        """A frame around it, left, top, right, bottom. Padding by reflection or by the edge shows nothing either."""
        sides = [padding] if isinstance(padding, int) else list(padding)
        left, top, right, bottom = (sides * 4)[:4]
        height, width = self.size
        return self.crop(-top, -left, height + top + bottom, width + left + right)

    def affine(
        self,
        angle: float,
        translate: Sequence[float],
        scale: float,
        shear: Sequence[float] | float,
        interpolation: Any = None,
        fill: Any = None,
        center: Sequence[float] | None = None,
    ) -> PixelWarp:
        """Sheared along x, then along y, scaled and rotated clockwise about a centre (x, y), then shifted by (x, y)."""
        across, down = (shear, 0.0) if isinstance(shear, (int, float)) else (shear[0], shear[-1])
        about = self._about(center)
        forward = (
            _shift(translate[1], translate[0])
            @ about
            @ _turn(angle)
            @ np.diag([scale, scale, 1.0])
            @ np.array([[1, -math.tan(math.radians(down)), 0], [0, 1, 0], [0, 0, 1]])
            @ np.array([[1, 0, 0], [-math.tan(math.radians(across)), 1, 0], [0, 0, 1]])
            @ np.linalg.inv(about)
        )
        return self._transformed(np.linalg.inv(forward), self.size)

    def rotate(
        self,
        angle: float,
        interpolation: Any = None,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Any = None,
    ) -> PixelWarp:
        """Rotated counterclockwise about a centre (x, y); with `expand` enlarged to hold all of it, centred."""
        about, size = self._about(center), self.size
        back = about @ _turn(angle) @ np.linalg.inv(about)
        if expand:
            size = _size_of(functional.rotate(self._shadow(), angle, expand=True, center=center))
            back = back @ _shift((self.size[0] - size[0]) / 2, (self.size[1] - size[1]) / 2)
        return self._transformed(back, size)

    def perspective(
        self,
        startpoints: Sequence[Sequence[float]] | None,
        endpoints: Sequence[Sequence[float]] | None,
        interpolation: Any = None,
        fill: Any = None,
        coefficients: Sequence[float] | NDArray[np.float64] | None = None,
    ) -> PixelWarp:
        """Seen at an angle: x' = (a x + b y + c) / (g x + h y + 1), y' = (d x + e y + f) / (g x + h y + 1).

        The eight coefficients map a point of the result to where it was; or four points (x, y) moved to four others.
        """
        if coefficients is None:
            coefficients = _coefficients(startpoints or (), endpoints or ())
        a, b, c, d, e, f, g, h = coefficients
        return self._transformed(np.array([[e, d, f], [b, a, c], [h, g, 1]]), self.size)

    def elastic(self, displacement: torch.Tensor, interpolation: Any = None, fill: Any = None) -> PixelWarp:
        """Bent by a displacement [1, H, W, 2] of (x, y) to where a pixel was, in units of half the picture's sides."""
        field = displacement[0].flip(-1).cpu().numpy() / 2
        return replace(self, warp=self.warp.bent(field.astype(np.float32)))

    def erase(self, i: int, j: int, h: int, w: int, v: Any = None, inplace: bool = False) -> PixelWarp:
        """A rectangle painted over: row i, column j, h rows and w columns."""
        return replace(self, warp=self.warp.erased(Box.from_pixels(i, j, h, w, self.size))) if h and w else self

    def _transformed(self, matrix: NDArray[np.float64], size: tuple[int, int]) -> PixelWarp:
        """The result of a matrix [3, 3], from (y, x, 1) of the result, in pixels, to those of this picture."""
        unit = in_unit_coordinates(matrix, result=size, given=self.size)
        return replace(self, warp=self.warp.transformed(unit), size=size)

    def _about(self, center: Sequence[float] | None) -> NDArray[np.float64]:
        height, width = self.size
        return _shift(height / 2, width / 2) if center is None else _shift(center[1], center[0])

    def _shadow(self) -> Any:
        """An empty picture of the same size, to ask torchvision how large its result is."""
        height, width = self.size
        return PIL.Image.new("1", (width, height)) if self.pillow else torch.empty(0, height, width, device="meta")


def _shift(down: float, right: float) -> NDArray[np.float64]:
    return np.array([[1, 0, down], [0, 1, right], [0, 0, 1]], np.float64)


def _turn(degrees: float) -> NDArray[np.float64]:
    """Clockwise, because y runs down."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def _coefficients(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """The eight coefficients of a perspective that has moved points (x, y) `before` to `after`."""
    equations: list[list[float]] = []
    for (u, v), (x, y) in zip(before, after, strict=True):
        equations += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    found: NDArray[np.float64] = np.linalg.solve(np.array(equations), np.array(before, np.float64).ravel())
    return found


def _size_of(picture: Any) -> tuple[int, int]:
    height, width = functional.get_size(picture)
    return height, width
