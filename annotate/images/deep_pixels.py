"""Which value is white if there are more than 8 bits? What the file or the setting says, never what the pixels hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffTags

from annotate.errors import PictureError
from storage import Status

_STRIP = 1 << 16  # pixels that are scaled at a time, so that a picture is never in memory as floats
_FULL = 65535
_TWELVE_BITS = 4095
# More than 1 % of a picture below 0 by more than 2 % of white is not noise. Below minus white, it means "no data".
_BELOW, _SOME = 0.02, 0.01
_TAGS = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}


def is_deep(image: Image.Image) -> bool:
    """Whether PIL holds the picture as grey of more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def grey_of(image: Image.Image, white: float | None) -> NDArray[np.uint8]:
    """The grey of a picture that `is_deep`, uint8 [H, W]: 0 and all below it is black, `white` and all above it white.

    The scale depends on the type of the file alone, so that all pictures of a series have the same one.

    Args:
        image: as PIL has opened it.
        white: the value of white in files that do not state one; None takes 65535 for 16 bits.

    Raises:
        PictureError: REFUSED where white is unknown: there is no setting, and the file has 32 bits, or signed values,
            or 16 bits of which only 12 or fewer are used; or where many pixels are below black.
    """
    image.load()
    stated, unsigned = _stated_white(image), image.mode.startswith("I;16")
    scale = stated or white or (_FULL if unsigned else None)
    if scale is None:
        kind = "floats" if image.mode == "F" else "whole numbers of 32 bits, or with a sign"
        raise PictureError(Status.REFUSED, f"grey of {kind}: the file does not say which value is white; {_how('1')}")
    inverted = _tag(image, "PhotometricInterpretation", 1) == 0  # PIL inverts 8 bits only
    grey = np.empty((image.height, image.width), np.uint8)
    largest = below = 0
    for top, values in _strips(image):
        deep = values.astype(np.float64)
        deep[np.isnan(deep)] = -np.inf
        largest = max(largest, deep.max(initial=0))
        below += int(np.count_nonzero((deep < -_BELOW * scale) & (deep >= -scale)))
        shade = np.clip(deep / scale, 0, 1)
        if inverted:
            shade = np.where(np.isneginf(deep), 0, 1 - shade)
        grey[top : top + len(values)] = np.rint(shade * 255)
    if below > _SOME * grey.size:
        raise PictureError(
            Status.REFUSED,
            f"grey with {below:,} of {grey.size:,} pixels below 0, which is black; convert it so that black is 0",
        )
    if not (stated or white) and 0 < largest <= _TWELVE_BITS:
        raise PictureError(
            Status.REFUSED,
            "grey of 16 bits of which it uses 12 or fewer, so it would be nearly black; " + _how("4095 for 12 bits"),
        )
    return grey


def rgb_of(image: Image.Image) -> NDArray[np.uint8]:
    """The colours of a picture that is not deep grey, uint8 [H, W, 3]; of 16 bits, PIL keeps the high byte.

    Raises:
        PictureError: REFUSED where PIL would read 16 bits wrongly, or where only 12 or fewer of them are used.
    """
    if _tag(image, "PlanarConfiguration", 1) == 2 and max(np.ravel(_tag(image, "BitsPerSample", 8))) > 8:
        raise PictureError(
            Status.REFUSED,
            "a TIFF of 16 bits with its channels in separate planes, which Pillow reads wrongly; save it with its "
            "channels together, or with 8 bits",
        )
    sixteen = any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))
    colours = np.asarray(image.convert("RGB"))
    if sixteen and 0 < colours.max() <= _TWELVE_BITS >> 8:
        raise PictureError(
            Status.REFUSED,
            "colour of 16 bits of which it uses 12 or fewer, so it would be nearly black; save it with 8 bits",
        )
    return colours


def _how(example: str) -> str:
    return f"say so with --white, for example {example}"


def _stated_white(image: Image.Image) -> int | None:
    """The value of white that the file states, in PIL's scale; None if it states none, or no more than 16 bits."""
    if image.format in ("PPM", "JPEG2000") and image.mode != "F":
        return _FULL  # PIL has scaled it from what the header says
    bits = int(np.max(_tag(image, "BitsPerSample", 16)))
    return (1 << bits) - 1 if bits < 16 else None


def _strips(image: Image.Image) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """The pixels by strips of rows, each with its first row."""
    # PIL has no unsigned 32 bits: it takes them as signed.
    wrapped = image.format == "TIFF" and image.mode == "I" and _tag(image, "SampleFormat", 1) == 1
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        yield top, values.view(np.uint32) if wrapped else values


def _tag(image: Image.Image, name: str, default: int) -> int | tuple[int, ...]:
    """The value of a TIFF's tag, or the default. A single value in a tuple is taken out of it."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    value: int | tuple[int, ...] = tags.get(_TAGS[name], default)
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value
