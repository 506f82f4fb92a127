"""Do pictures stay the same, whether simplejpeg decodes them or PIL?"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageCms

import annotate.images.decode
from annotate.errors import PictureError
from annotate.images.decode import decode
from storage import Status
from tests.annotate.images.odd_pictures import ODD_PICTURES, SCENE, encoded, orientation, patched

SOUND_JPEGS = (
    *("plain JPEG", "grey JPEG", "progressive JPEG", "JPEG with trailing junk", "JPEG with a second picture (MPO)"),
    *("EXIF orientation", "EXIF of garbage", "EXIF that is cut short"),
)
NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def outcome(data: bytes) -> tuple[bytes, tuple[int, ...]] | tuple[Status, str]:
    try:
        picture = decode(data)
    except PictureError as error:
        return error.status, re.sub("0x[0-9a-f]+", "", error.reason)  # PIL may print an address
    return picture.tobytes(), picture.shape


class Decoders:
    """Decodes with simplejpeg and without, and counts how often simplejpeg gave the answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.quick = 0
        self._patch = monkeypatch
        own = simplejpeg.decode_jpeg

        def counted(*args: object, **options: object) -> np.ndarray:
            pixels = own(*args, **options)
            self.quick += 1
            return pixels

        monkeypatch.setattr(simplejpeg, "decode_jpeg", counted)

    def agree(self, data: bytes) -> bool:
        """Both give the same pixels, or the same failure."""
        found = outcome(data)
        with self._patch.context() as patch:
            patch.setattr(annotate.images.decode, "_QUICK", False)
            before = self.quick
            reference = outcome(data)
            assert self.quick == before
        return found == reference


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Decoders:
    return Decoders(monkeypatch)


def jpegs(height: int, width: int, quality: int) -> Iterator[bytes]:
    """A JPEG of each kind that is decoded by simplejpeg: smooth colours, edges and noise in one picture."""
    rng = np.random.default_rng(height * width + quality)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels = np.clip(pixels + rng.integers(-20, 21, pixels.shape), 0, 255).astype(np.uint8)
    pixels[: height // 2, : width // 3] = 255
    options: tuple[dict[str, object], ...] = (
        {},
        {"progressive": True},
        {"optimize": True},
        {"restart_marker_blocks": 3},
        {"restart_marker_rows": 1, "progressive": True},
        {"icc_profile": PROFILE, "exif": orientation(6)},
    )
    for option in options:
        yield encoded(pixels[..., 0], "JPEG", quality=quality, **option)
        for sampling in ("4:4:4", "4:2:2", "4:2:0"):
            yield encoded(pixels, "JPEG", quality=quality, subsampling=sampling, **option)


SIZES = [(1, 1), (1, 2), (2, 1), (3, 5), (8, 8), (7, 9), (15, 17), (17, 33), (1, 100), (100, 1), (75, 101), (300, 400)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_plain_jpegs_have_the_same_pixels_with_simplejpeg(decoders: Decoders, height: int, width: int) -> None:
    seen = 0
    for quality in (1, 40, 75, 95, 100):
        for data in jpegs(height, width, quality):
            seen += 1
            assert decoders.agree(data)
    assert decoders.quick == seen == 5 * 6 * 4


@pytest.mark.parametrize("name", ODD_PICTURES)
def test_odd_pictures_are_the_same_with_simplejpeg(decoders: Decoders, name: str) -> None:
    assert decoders.agree(ODD_PICTURES[name].data)
    assert decoders.quick == (name in SOUND_JPEGS)


@pytest.mark.parametrize(
    "data",
    [
        ODD_PICTURES["CMYK JPEG, inverted by Adobe"].data,
        ODD_PICTURES["YCCK JPEG"].data,
        ODD_PICTURES["JPEG in RGB"].data,
        simplejpeg.encode_jpeg(SCENE, 95, colorsubsampling="411"),
        simplejpeg.encode_jpeg(SCENE, 95, colorsubsampling="440"),
        patched(ODD_PICTURES["plain JPEG"].data, b"\xff\xc0", b"\xff\xc9"),  # says that its coding is arithmetic
        encoded(SCENE, "JPEG", comment=b"\xff\xc9"),  # may be arithmetic: it is not examined further
    ],
    ids=["CMYK", "YCCK", "RGB", "4:1:1", "4:4:0", "arithmetic", "perhaps arithmetic"],
)
def test_rare_jpegs_are_left_to_pil(decoders: Decoders, data: bytes) -> None:
    assert decoders.agree(data)
    assert decoders.quick == 0


@pytest.mark.parametrize("kind", [{}, {"progressive": True}, {"restart_marker_blocks": 2}], ids=str)
def test_a_jpeg_cut_anywhere_ends_the_same_with_simplejpeg(decoders: Decoders, kind: dict[str, object]) -> None:
    data = encoded(NOISE, "JPEG", quality=50, **kind)
    whole = outcome(data)
    for length in range(len(data)):
        assert decoders.agree(data[:length]), length
        if length < len(data) - 2:  # all but the marker that ends the file
            assert outcome(data[:length]) != whole
    assert isinstance(outcome(data[:-20])[0], Status)


def test_a_long_jpeg_cut_anywhere_ends_the_same_with_simplejpeg(decoders: Decoders) -> None:
    large = np.random.default_rng(0).integers(0, 256, (500, 600, 3), np.uint8)
    for progressive in (False, True):
        data = encoded(large, "JPEG", quality=90, progressive=progressive)
        assert len(data) > 3 * 65536  # PIL reads 64 kB at a time
        for length in np.linspace(700, len(data), 15).astype(int):
            assert decoders.agree(data[:length])


def test_a_damaged_jpeg_ends_the_same_with_simplejpeg(decoders: Decoders) -> None:
    rng = np.random.default_rng(0)
    sound = list(jpegs(33, 50, 60))
    failures = damaged = 0
    for _ in range(2500):
        data = bytearray(sound[rng.integers(len(sound))])
        start = data.index(b"\xff\xda") if rng.random() < 0.7 else 2
        at, length = int(rng.integers(start, len(data))), int(rng.integers(1, 12))
        how = rng.integers(4)
        if how == 0:
            data[at] ^= int(rng.integers(1, 256))
        elif how == 1:
            del data[at : at + length]
        else:
            data[at : at + (how == 2) * length] = rng.bytes(length)
        assert decoders.agree(bytes(data))
        before = decoders.quick
        failures += isinstance(outcome(bytes(data))[0], Status)
        damaged += decoders.quick == before
    assert failures > 200
    assert damaged > failures + 200  # which PIL decodes to something, and libjpeg warns of


@pytest.mark.parametrize(
    "change",
    [
        "import sys; sys.modules['simplejpeg'] = None",
        "from PIL import features; features.version = lambda name: '2.1.5'",
        "from PIL import features; features.version = lambda name: None",
    ],
    ids=["no simplejpeg", "an older libjpeg-turbo in PIL", "another libjpeg in PIL"],
)
def test_without_the_same_library_pil_decodes(change: str) -> None:
    code = f"{change}\nimport sys\nfrom annotate.images import decode as module\n"
    code += "print(module._QUICK, module.decode(sys.stdin.buffer.read()).tobytes().hex())"
    data = ODD_PICTURES["plain JPEG"].data
    answer = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True).stdout.split()
    assert answer == [b"False", decode(data).tobytes().hex().encode()]
    assert annotate.images.decode._QUICK
