"""How was a training picture cut from its source picture? The View says it, for pixels and labels alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from storage import Box


@dataclass(frozen=True, slots=True)
class View:
    """A map from the unit square of a training picture to that of its source picture.

    box:      the part of the source picture that the training picture shows, in unit coordinates
    mirrored: whether left and right are swapped
    flipped:  whether top and bottom are swapped
    """

    box: Box
    mirrored: bool = False
    flipped: bool = False

    @classmethod
    def whole(cls) -> View:
        """The whole source picture as it is."""
        return cls(Box.whole())

    def then(self, inner: View) -> View:
        """Compose: apply `inner` to the picture that this view makes."""
        box = inner.box.mirrored() if self.mirrored else inner.box
        box = box.flipped() if self.flipped else box
        return View(self.box.to_outer(box), self.mirrored != inner.mirrored, self.flipped != inner.flipped)

    def apply(self, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        """The training picture of `size` (height, width) pixels: bicubic, antialiased, from pixels in the box alone."""
        height, width = size
        columns, rows = picture.size
        left, top = _snapped(self.box.left * columns), _snapped(self.box.top * rows)
        right, bottom = _snapped(self.box.right * columns), _snapped(self.box.bottom * rows)
        # PIL's filter would read pixels beyond the box: crop first, at whole pixels.
        x, y = math.floor(left), math.floor(top)
        crop = picture.crop((x, y, math.ceil(right), math.ceil(bottom)))
        box = (left - x, top - y, right - x, bottom - y)
        shown = crop.resize((width, height), Image.Resampling.BICUBIC, box=box)
        shown = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else shown
        return shown.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if self.flipped else shown


def _snapped(pixels: float) -> float:
    """The nearest whole number of pixels where the difference is only rounding."""
    return float(round(pixels)) if abs(pixels - round(pixels)) < 1e-6 else pixels


def random_view(
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    mirror: float = 0.5,
) -> View:
    """Draw a random resized crop and a mirror, with the usual distribution.

    Args:
        rng: source of all randomness. Seeded with (seed, epoch, index), it draws the same view again.
        size: height and width of the source picture in pixels; crops have whole pixels.
        scale: smallest and largest area, as fractions of the picture's.
        ratio: smallest and largest width / height, in pixels.
        mirror: the probability of a mirror.

    Example:
        >>> view = random_view(np.random.default_rng([0, 0, 7]), (480, 640))
        >>> 0.08 * 0.9 < view.box.height * view.box.width <= 1
        True
    """
    rows, columns = size
    mirrored = bool(rng.random() < mirror)
    for _ in range(10):
        area = rows * columns * rng.uniform(*scale)
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        height, width = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
        if 0 < height <= rows and 0 < width <= columns:
            top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
            return View(Box.from_pixels(top, left, height, width, size), mirrored)
    # The picture is longer than any crop may be: take its middle, as wide or as tall as the ratio allows.
    height, width = min(rows, round(columns / ratio[0])), min(columns, round(rows * ratio[1]))
    return View(Box.from_pixels((rows - height) // 2, (columns - width) // 2, height, width, size), mirrored)
