"""From where in a picture does PIL take each pixel of its result? A `RecordedPicture` records calls that move pixels.

Its crop, resize, rotate, transpose, transform, copy and convert give recorded pictures again, each with its warp.
Anything else that PIL, numpy or others make of it is an ordinary picture, without a warp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage import Box
from tokenlabel.geometry.warp import Warp, in_unit_coordinates


class RecordedPicture(Image.Image):
    """A picture with its warp, which it passes on to the pictures that PIL makes of it.

    It shares its pixels with the picture that it was made from, and is read-only: PIL copies them before it writes in
    place, and the copy has no warp.

    Args:
        picture: any PIL picture.
        warp: from it to the source picture.
    """

    def __init__(self, picture: Image.Image, warp: Warp) -> None:
        super().__init__()
        picture.load()
        self.im, self._mode, self._size = picture.im, picture.mode, picture.size
        self.palette, self.info = picture.palette, picture.info
        self.readonly = 1
        self.picture, self._warp = picture, warp

    @property
    def warp(self) -> Warp | None:
        """Where its points are in the source picture; None after pixels were written to it."""
        return self._warp if self.im is self.picture.im else None

    def crop(self, box: tuple[float, float, float, float] | None = None) -> Image.Image:
        """A part, black where it reaches beyond the picture."""
        left, top, right, bottom = (0, 0, *self.size) if box is None else map(round, box)
        part = Box.from_pixels(top, left, bottom - top, right - left, (self.height, self.width))
        return self._with_warp(self._plain().crop(box), self._warp.cropped(part))

    def resize(self, size: Any, resample: Any = None, box: Any = None, reducing_gap: Any = None) -> Image.Image:
        """A part of it, or all, in another size."""
        left, top, right, bottom = (0, 0, *self.size) if box is None else box
        part = Box.from_pixels(top, left, bottom - top, right - left, (self.height, self.width))
        return self._with_warp(self._plain().resize(size, resample, box, reducing_gap), self._warp.cropped(part))

    def transpose(self, method: Image.Transpose) -> Image.Image:
        """Mirrored, or rotated by quarter turns."""
        return self._with_warp(self._plain().transpose(method), self._warp.transformed(_TURNS[method]))

    def transform(
        self,
        size: tuple[int, int],
        method: Any,
        data: Sequence[Any] | None = None,
        resample: int = Image.Resampling.NEAREST,
        fill: int = 1,
        fillcolor: Any = None,
    ) -> Image.Image:
        """Rotated, sheared, shifted or seen at an angle; `rotate` calls this too."""
        moved = self._plain().transform(size, method, data, resample, fill, fillcolor)
        if data is None or method not in _MATRICES:
            return moved
        matrix = in_unit_coordinates(
            _MATRICES[method](data, moved.size), result=(moved.height, moved.width), given=(self.height, self.width)
        )
        return self._with_warp(moved, self._warp.transformed(matrix))

    def copy(self) -> Image.Image:
        """A copy."""
        return self._with_warp(self._plain().copy(), self._warp)

    def convert(self, *args: Any, **named: Any) -> Image.Image:
        """The same in another mode."""
        return self._with_warp(self._plain().convert(*args, **named), self._warp)

    def frombytes(self, *args: Any, **named: Any) -> None:
        """Write other pixels to it."""
        self._copy()  # PIL's frombytes does not copy first
        super().frombytes(*args, **named)

    def _plain(self) -> Image.Image:
        # PIL's methods call one another, and each change must be recorded once.
        return self._new(self.im)

    def _with_warp(self, picture: Image.Image, warp: Warp) -> Image.Image:
        return picture if self.warp is None else RecordedPicture(picture, warp)


def _affine(data: Sequence[float], size: tuple[int, int]) -> NDArray[np.float64]:
    a, b, c, d, e, f = data[:6]  # to x = a x + b y + c, y = d x + e y + f
    return np.array([[e, d, f], [b, a, c], [0, 0, 1]], np.float64)


def _perspective(data: Sequence[float], size: tuple[int, int]) -> NDArray[np.float64]:
    g, h = data[6:8]  # the same over g x + h y + 1
    matrix = _affine(data, size)
    matrix[2] = h, g, 1
    return matrix


def _extent(data: Sequence[float], size: tuple[int, int]) -> NDArray[np.float64]:
    left, top, right, bottom = data
    return _affine(((right - left) / size[0], 0, left, 0, (bottom - top) / size[1], top), size)


# PIL's arguments and the result's size (width, height), as a matrix of pixels (y, x, 1) from result to given picture.
_MATRICES = {
    Image.Transform.AFFINE: _affine,
    Image.Transform.EXTENT: _extent,
    Image.Transform.PERSPECTIVE: _perspective,
}

# The same for unit coordinates.
_TURNS = {
    Image.Transpose.FLIP_LEFT_RIGHT: np.array([[1, 0, 0], [0, -1, 1], [0, 0, 1.0]]),
    Image.Transpose.FLIP_TOP_BOTTOM: np.array([[-1, 0, 1], [0, 1, 0], [0, 0, 1.0]]),
    Image.Transpose.ROTATE_90: np.array([[0, 1, 0], [-1, 0, 1], [0, 0, 1.0]]),
    Image.Transpose.ROTATE_180: np.array([[-1, 0, 1], [0, -1, 1], [0, 0, 1.0]]),
    Image.Transpose.ROTATE_270: np.array([[0, -1, 1], [1, 0, 0], [0, 0, 1.0]]),
    Image.Transpose.TRANSPOSE: np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]]),
    Image.Transpose.TRANSVERSE: np.array([[0, -1, 1], [-1, 0, 1], [0, 0, 1.0]]),
}
