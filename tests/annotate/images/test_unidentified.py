"""Does a file that PIL cannot open have a reason that is true of it?"""

from __future__ import annotations

import struct

import numpy as np
import pytest

from annotate.errors import PictureError
from annotate.images.decode import decode
from storage import Status
from tests.annotate.images.odd_pictures import SCENE, encoded, patched, tiff

JPEG = encoded(SCENE, "JPEG")
FRAME = JPEG.index(b"\xff\xc0")
PNG = encoded(SCENE, "PNG")
DAMAGED_CHUNK = struct.pack(">I", 4) + b"tEXt" + b"a\0bc" + bytes(4)  # the checksum is wrong


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (JPEG[: FRAME + 4] + b"\x0c" + JPEG[FRAME + 5 :], "a JPEG that Pillow cannot open: .*12-bit"),
        (PNG[:33] + DAMAGED_CHUNK + PNG[33:], "a PNG that Pillow cannot open: broken PNG file .*tEXt"),
        (patched(PNG, b"IHDR", b"JHDR"), "a PNG that Pillow cannot open: broken PNG"),
        (tiff((SCENE / 255).astype(np.float32)), "a TIFF that .* open: unknown .* 3 channels of 32 bits, floats"),
        (tiff((SCENE[..., 0] / 255).astype(np.float64)), "a TIFF that .*; it has 1 channel of 64 bits, floats"),
        (tiff(SCENE)[:150], "a TIFF that Pillow cannot open: |^Invalid dimensions$"),  # the latter of Pillow 11.0
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS .*git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "an HEIC picture"),
        (b"%PDF-1.4", "a PDF document"),
        (b"<!DOCTYPE html><html>", "^not a picture of a known type$"),
        (bytes(5000), "^not a picture of a known type$"),
        (b"\n" * 500, "^not a picture of a known type$"),
    ],
)
def test_the_reason_says_what_the_file_is_and_what_is_wrong_with_it(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason) as caught:
        decode(data)
    assert caught.value.status == Status.UNDECODABLE
