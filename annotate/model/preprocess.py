"""How does a picture become the network's input? By one of three modes; each also returns the part that it shows.

squash      the whole picture, height and width scaled independently
letterbox   the whole picture at its aspect ratio, with grey bars: the box reaches beyond the picture
center      the usual evaluation crop: the largest centred rectangle of the input's aspect ratio, in whole pixels
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from annotate.errors import AnnotateError
from storage import Box

Mode = Literal["squash", "letterbox", "center"]
MODES: tuple[Mode, ...] = get_args(Mode)
_GREY = 128


def preprocess(
    picture: NDArray[np.uint8], size: tuple[int, int], mode: Mode, *, interpolation: str = "bicubic"
) -> tuple[NDArray[np.uint8], Box]:
    """Fit a picture to the input of a network, and say which part of the picture the input shows.

    The picture is resized once, as uint8; what lies outside the box has no influence on any pixel.

    Bilinear and bicubic are torch's, in integers: several times as fast as PIL's, and within 2 grey levels of them. The
    bytes do not depend on the number of threads, nor on the processor's vector instructions. Other filters are PIL's.

    Args:
        picture: uint8 [H, W, 3].
        size: height and width of the input, pixels.
        mode: squash, letterbox or center.
        interpolation: "bicubic", "bilinear", or another filter of PIL by name; antialiased.

    Returns:
        uint8 [height, width, 3], and its box in unit coordinates of the picture.

    Raises:
        AnnotateError: the interpolation is unknown.
    """
    rows, columns = picture.shape[:2]
    height, width = size
    if mode == "squash":
        return _resized(picture, size, interpolation), Box.whole()
    if mode == "center":
        ideal = center_box((rows, columns), size)
        inner_height, inner_width = max(1, round(ideal.height * rows)), max(1, round(ideal.width * columns))
        top, left = (rows - inner_height) // 2, (columns - inner_width) // 2
        part = picture[top : top + inner_height, left : left + inner_width]
        box = Box.from_pixels(top, left, inner_height, inner_width, (rows, columns))
        return _resized(part, size, interpolation), box
    scale = min(height / rows, width / columns)
    inner_height, inner_width = max(1, round(rows * scale)), max(1, round(columns * scale))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    canvas = np.full((height, width, 3), _GREY, np.uint8)
    canvas[top : top + inner_height, left : left + inner_width] = _resized(
        picture, (inner_height, inner_width), interpolation
    )
    return canvas, Box.from_pixels(top, left, inner_height, inner_width, size).to_inner(Box.whole())


def center_box(shape: tuple[int, int], size: tuple[int, int]) -> Box:
    """The largest centred rectangle of a picture with the aspect ratio of the input, not rounded to whole pixels.

    Args:
        shape: height and width of the picture.
        size: height and width of the input; only their ratio matters.
    """
    (rows, columns), (height, width) = shape, size
    scale = min(rows / height, columns / width)
    return _centred(scale * height / rows, scale * width / columns)


def _centred(height: float, width: float) -> Box:
    """The centred box of this height and width, clipped to the picture because of rounding."""
    top, left = max(0.0, (1 - height) / 2), max(0.0, (1 - width) / 2)
    return Box(top, left, 1 - top, 1 - left)


def _resized(picture: NDArray[np.uint8], size: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    """The picture uint8 [H, W, 3], resized to this height and width."""
    if interpolation in ("bilinear", "bicubic"):
        import torch  # here, so that a recipe can be read without torch

        # torch takes no read-only memory and no negative strides. With the batch axis before the rows, the tensor is
        # channels-last, for which torch has a kernel that reads the three colours together.
        pixels = torch.from_numpy(np.require(picture, requirements=["C", "W"]))[None].permute(0, 3, 1, 2)
        resized = torch.nn.functional.interpolate(pixels, size, mode=interpolation, antialias=True)
        answer: NDArray[np.uint8] = resized[0].permute(1, 2, 0).numpy()
        return answer
    filters = {one.name.lower(): one for one in Image.Resampling}
    if interpolation not in filters:
        raise AnnotateError(f"interpolation must be one of {', '.join(filters)}, not {interpolation!r}")
    return np.asarray(Image.fromarray(picture).resize(size[::-1], filters[interpolation]))
