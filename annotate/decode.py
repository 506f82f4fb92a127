"""How do bytes become an RGB picture? One policy, with PIL as the reference, or a named failure."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from annotate.errors import PictureError
from storage import Status

MAX_PIXELS = 178_956_970  # PIL's own limit for "this is an attack": a quarter of a gigabyte as RGB


def decode(data: bytes) -> NDArray[np.uint8]:
    """The picture uint8 [H, W, 3], RGB, as trainers see it.

    The EXIF orientation is ignored, as timm and torchvision ignore it. Transparency is dropped. 16-bit grey is scaled,
    not clipped. Of an animation the first frame is taken.

    Raises:
        PictureError: UNDECODABLE, for bytes that are no whole picture; REFUSED, for a decompression bomb.
    """
    if not data:
        raise PictureError(Status.UNDECODABLE, "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of odd metadata; what matters raises
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise PictureError(
                        Status.REFUSED, f"{image.width}x{image.height} pixels are more than the {MAX_PIXELS:,} allowed"
                    )
                return _rgb(image)
    except UnidentifiedImageError:
        raise PictureError(Status.UNDECODABLE, "not a picture of a known type") from None
    except Image.DecompressionBombError as error:
        raise PictureError(Status.REFUSED, str(error)) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, MemoryError) as error:
        # What PIL's plugins raise on bytes that are not what they claim to be.
        raise PictureError(Status.UNDECODABLE, str(error) or type(error).__name__) from error


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _from_deep_grey(np.asarray(image))
    return np.asarray(image.convert("RGB"))


def _from_deep_grey(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey with more than 8 bits, scaled by the range of its type: 16 bits wherever the values fit them."""
    scale = 1.0 if grey.max(initial=0) <= 1 and grey.dtype.kind == "f" else 65535.0
    scaled = np.clip(np.nan_to_num(grey.astype(np.float64)) / scale, 0, 1)
    return np.repeat(np.rint(scaled * 255).astype(np.uint8)[..., None], 3, axis=-1)
