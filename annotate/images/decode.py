"""How do bytes become an RGB picture? By one policy with PIL as the reference, or a named failure: docs/pictures.md."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, features

from annotate.errors import PictureError
from annotate.images.deep_pixels import grey_of, is_deep, rgb_of
from annotate.images.unidentified import why_unidentified
from storage import Status

try:
    import simplejpeg
except ImportError:  # optional: it only saves time
    simplejpeg = None

Exif = Literal["ignore", "apply"]
MAX_PIXELS = 178_956_970  # PIL's own limit, above which it assumes an attack: half a gigabyte as RGB
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

# simplejpeg contains libjpeg-turbo 3. If PIL was built with another libjpeg, the two round differently.
_QUICK = simplejpeg is not None and (features.version("libjpeg_turbo") or "").startswith("3.")
# Colour and sampling of nearly all files. PIL decodes the rest: it inverts CMYK by a rule of its own, and versions of
# libjpeg-turbo differ in how they smooth 4:1:1 and 4:4:0.
_PLAIN = {("YCbCr", "444"), ("YCbCr", "422"), ("YCbCr", "420"), ("Gray", "Gray")}
# Markers of lossless, hierarchical and arithmetic coding, which a libjpeg may be built without.
_RARE_FRAME = re.compile(rb"\xff[\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]")


def decode(data: bytes | NDArray[np.uint8], *, exif: Exif = "ignore", white: float | None = None) -> NDArray[np.uint8]:
    """The picture as uint8 [H, W, 3], RGB, as trainers see it. The array may be read-only.

    Transparency is dropped. Grey of more than 8 bits is scaled, not clipped. An animation becomes its first frame.

    Args:
        data: the bytes of a picture file; or pixels uint8 [H, W, 3], returned unchanged; or grey pixels uint8 [H, W].
        exif: "ignore" leaves the pixels as stored and ignores the EXIF orientation, as timm and torchvision do; "apply"
            turns them upright.
        white: the value of white in grey of more than 8 bits whose file does not state it; see `deep_pixels.grey_of`.

    Raises:
        PictureError: UNDECODABLE if the data is not a complete picture; REFUSED for a decompression bomb or a program,
            or where white is unknown.
    """
    if isinstance(data, np.ndarray):
        return _from_array(data)
    with _opened(data) as image:
        picture = _plain_jpeg(data, image)
        if picture is None:
            picture = grey_of(image, white) if is_deep(image) else rgb_of(image)
        turn = _TURNS.get(_orientation(image)) if exif == "apply" else None
        if picture.ndim == 2:
            image.close()  # which frees its pixels before the channels are made
            picture = _from_array(picture)
        return picture if turn is None else np.asarray(Image.fromarray(picture).transpose(turn))


def measure(data: bytes | NDArray[np.uint8], *, exif: Exif = "ignore") -> tuple[int, int]:
    """Height and width in pixels of what `decode` would return, read from the header.

    No pixels are decoded, except of a PNG with exif="apply": there the orientation may come after the pixels.

    Raises:
        PictureError: as `decode`, except for a picture that is truncated after its header.
    """
    if isinstance(data, np.ndarray):
        height, width, _ = _from_array(data).shape
        return height, width
    with _opened(data) as image:
        if exif == "apply" and _orientation(image) in _SIDEWAYS:
            return image.width, image.height
        return image.height, image.width


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The picture as PIL opens it; any fault becomes a named failure."""
    if not data:
        raise PictureError(Status.UNDECODABLE, "the file is empty")
    _quieten_pil()
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(
                    Status.REFUSED, f"{image.width}x{image.height} pixels are more than the {MAX_PIXELS:,} allowed"
                )
            if image.format == "EPS":
                raise PictureError(
                    Status.REFUSED, "it is PostScript, which is a program and is not run; convert it to PNG"
                )
            yield image
    except UnidentifiedImageError:
        raise PictureError(Status.UNDECODABLE, why_unidentified(data)) from None
    except Image.DecompressionBombError as error:
        raise PictureError(Status.REFUSED, str(error)) from error
    except PictureError:
        raise
    except Exception as error:  # on damaged bytes PIL's plugins raise exceptions of many types
        raise PictureError(Status.UNDECODABLE, str(error) or type(error).__name__) from error


def _quieten_pil() -> None:
    """Silence PIL's warnings of odd metadata: real faults raise, and warning filters must not decide about a picture.

    The filter is never removed. `warnings.catch_warnings` would replace the filters of all threads, and threads that
    decode at the same time would restore each other's.
    """
    if warnings.filters[:1] != [_QUIET]:
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)


def _plain_jpeg(data: bytes, image: Image.Image) -> NDArray[np.uint8] | None:
    """The pixels of a plain and sound JPEG, equal to PIL's but faster; None if PIL must decode it.

    PIL has read the header, so the same limits hold. libjpeg often only warns of damage and fills in grey. Such files
    fail here because of `strict`, and PIL decodes them, so the result does not depend on simplejpeg.
    """
    if not _QUICK or image.format not in ("JPEG", "MPO") or _RARE_FRAME.search(data):
        return None
    try:
        height, width, *kind = simplejpeg.decode_jpeg_header(data, strict=True)
        if (height, width) != (image.height, image.width) or tuple(kind) not in _PLAIN:
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)
    except ValueError:
        return None
    return pixels


def _from_array(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8 and pixels.size:
        if pixels.ndim == 2:
            return np.repeat(pixels[..., None], 3, axis=-1)
        if pixels.ndim == 3 and pixels.shape[-1] == 3:
            return pixels
    raise PictureError(
        Status.UNDECODABLE, f"the array is {pixels.dtype} {list(pixels.shape)}; a picture is uint8 [H, W, 3] or [H, W]"
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 means upright."""
    if image.format == "TIFF":
        return 1  # PIL turns these itself when it loads them, and reports the turned size from the start
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # PIL raises many types on damaged EXIF; the pixels are sound
        return 1
    return orientation
