"""How does a picture become the network's input? By one of three modes, each of which says what it looks at.

squash      the whole picture, its sides scaled each by its own factor
letterbox   the whole picture with its shape kept, grey bars beside it: the box reaches beyond the picture
center      the classical evaluation crop: the largest centred rectangle of the input's shape
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage import Box

Mode = Literal["squash", "letterbox", "center"]
MODES: tuple[Mode, ...] = get_args(Mode)
_GREY = (128, 128, 128)


def preprocess(
    picture: NDArray[np.uint8], size: tuple[int, int], mode: Mode, *, interpolation: str = "bicubic"
) -> tuple[NDArray[np.uint8], Box]:
    """Fit a picture to the input of a network, and say which part of the picture the input shows.

    Args:
        picture: uint8 [H, W, 3].
        size: height and width of the input, pixels.
        mode: squash, letterbox or center.
        interpolation: "bicubic", "bilinear", or another filter of PIL by name; antialiased.

    Returns:
        uint8 [height, width, 3], and its box in unit coordinates of the picture.
    """
    rows, columns = picture.shape[:2]
    height, width = size
    image = Image.fromarray(picture)
    resample = Image.Resampling[interpolation.upper()]
    if mode == "squash":
        return np.asarray(image.resize((width, height), resample)), Box.whole()
    if mode == "center":
        box = center_box((rows, columns), size)
        pixels = (box.left * columns, box.top * rows, box.right * columns, box.bottom * rows)
        return np.asarray(image.resize((width, height), resample, box=pixels)), box
    scale = min(height / rows, width / columns)
    inner_height, inner_width = max(1, round(rows * scale)), max(1, round(columns * scale))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    canvas = Image.new("RGB", (width, height), _GREY)
    canvas.paste(image.resize((inner_width, inner_height), resample), (left, top))
    inner = Box.from_pixels(top, left, inner_height, inner_width, size)
    return np.asarray(canvas), inner.locate(Box.whole())


def center_box(shape: tuple[int, int], size: tuple[int, int]) -> Box:
    """What `center` looks at: of a picture of this shape the largest centred rectangle that has the shape of the input.

    Args:
        shape: height and width of the picture.
        size: height and width of the input, of which only the ratio matters.
    """
    (rows, columns), (height, width) = shape, size
    scale = min(rows / height, columns / width)
    return _centred(scale * height / rows, scale * width / columns)


def _centred(height: float, width: float) -> Box:
    """The centred box of this height and width, cut to the picture against rounding."""
    top, left = max(0.0, (1 - height) / 2), max(0.0, (1 - width) / 2)
    return Box(top, left, 1 - top, 1 - left)
