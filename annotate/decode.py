"""How do bytes become an RGB picture? One policy, with PIL as the reference, or a named failure."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from annotate.errors import PictureError
from storage import Status

MAX_PIXELS = 178_956_970  # PIL's own limit for "this is an attack": half a gigabyte as RGB


def decode(data: bytes) -> NDArray[np.uint8]:
    """The picture uint8 [H, W, 3], RGB, as trainers see it.

    The EXIF orientation is ignored, as timm and torchvision ignore it. Transparency is dropped. Deep grey is scaled,
    not clipped. Of an animation the first frame is taken.

    Raises:
        PictureError: UNDECODABLE, for bytes that are no whole picture; REFUSED, for a decompression bomb.
    """
    with _opened(data) as image:
        return _rgb(image)


def measure(data: bytes) -> tuple[int, int]:
    """Height and width in pixels, as `decode` would give them; read from the header, no pixel is decoded.

    Raises:
        PictureError: as `decode` does, but for a picture that is cut short after its header.
    """
    with _opened(data) as image:
        return image.height, image.width


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The picture as PIL opens it; whatever is wrong with it becomes a named failure."""
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
                yield image
    except UnidentifiedImageError:
        raise PictureError(Status.UNDECODABLE, "not a picture of a known type") from None
    except Image.DecompressionBombError as error:
        raise PictureError(Status.REFUSED, str(error)) from error
    except PictureError:
        raise
    except Exception as error:  # PIL's many plugins raise what they like on bytes that are not what they claim to be
        raise PictureError(Status.UNDECODABLE, str(error) or type(error).__name__) from error


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image), 65535)
    if image.mode in ("I", "F"):
        deep = np.nan_to_num(np.asarray(image).astype(np.float64))
        # The file does not say what white is: the smallest usual range that holds all values.
        largest = deep.max(initial=0)
        usual = (1, 255, 65535) if image.mode == "F" else (255, 65535)
        return _scaled(deep, next((white for white in usual if largest <= white), largest))
    return np.asarray(image.convert("RGB"))


def _scaled(grey: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Grey [H, W] from 0 to white as uint8 [H, W, 3]."""
    scaled = np.clip(grey.astype(np.float64) / white, 0, 1)
    return np.repeat(np.rint(scaled * 255).astype(np.uint8)[..., None], 3, axis=-1)
