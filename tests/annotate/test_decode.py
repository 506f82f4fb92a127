"""Does every kind of file become a picture, or a named failure?"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from annotate.decode import MAX_PIXELS, decode
from annotate.errors import PictureError
from storage import Status

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_a_jpeg_is_what_pil_makes_of_it() -> None:
    data = encoded(Image.fromarray(RGB), "JPEG", quality=95)
    assert (decode(data) == np.asarray(Image.open(io.BytesIO(data)))).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=95),
        lambda: encoded(Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE, colors=256), "PNG"),
        lambda: encoded(Image.fromarray(RGB).convert("P"), "PNG", transparency=bytes(range(256))),
        lambda: encoded(Image.fromarray(RGB).convert("RGBA"), "PNG"),
        lambda: encoded(Image.fromarray(RGB), "PNG"),
        lambda: encoded(Image.fromarray(RGB), "WEBP", lossless=True),
        lambda: encoded(Image.fromarray(RGB), "JPEG", progressive=True, quality=95) + b"trailing junk",
    ],
    ids=["cmyk", "palette", "palette with transparency", "rgba", "png", "webp", "progressive with trailing junk"],
)
def test_other_kinds_become_rgb(make: Callable[[], bytes]) -> None:
    picture = decode(make())
    assert picture.shape == RGB.shape
    assert picture.dtype == np.uint8


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    deep = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    picture = decode(encoded(Image.fromarray(deep), "PNG"))
    assert (picture == np.rint(deep / 257).astype(np.uint8)[..., None]).all()


def test_grey_has_three_equal_channels() -> None:
    picture = decode(encoded(Image.fromarray(RGB[..., 0]), "PNG"))
    assert (picture == RGB[..., :1]).all()


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    picture = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (picture == (255, 0, 0)).all()


def test_exif_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(Image.fromarray(RGB), "JPEG", exif=exif)).shape == RGB.shape


def test_one_pixel_is_a_picture() -> None:
    assert decode(encoded(Image.new("RGB", (1, 1), "red"), "PNG")).tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", Status.UNDECODABLE, "the file is empty"),
        (b"this is a letter, not a picture", Status.UNDECODABLE, "not a picture of a known type"),
        (encoded(Image.fromarray(RGB), "JPEG")[:-50], Status.UNDECODABLE, "truncated"),
        (encoded(Image.fromarray(RGB), "JPEG")[:300], Status.UNDECODABLE, "Truncated"),
        (encoded(Image.fromarray(RGB), "PNG")[:200], Status.UNDECODABLE, ""),
        (b"\xff\xd8\xff", Status.UNDECODABLE, ""),
    ],
)
def test_what_is_no_whole_picture_is_a_named_failure(data: bytes, status: Status, reason: str) -> None:
    with pytest.raises(PictureError) as caught:
        decode(data)
    assert caught.value.status == status
    assert reason in caught.value.reason
    assert caught.value.reason


def test_a_decompression_bomb_is_refused_unopened() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    bomb = encoded(Image.new("1", (side, side)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(PictureError) as caught:
        decode(bomb)
    assert caught.value.status == Status.REFUSED


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
def test_damaged_bytes_of_any_kind_are_a_picture_or_a_named_failure(kind: str) -> None:
    """PIL's plugins raise RuntimeError, NotImplementedError and more; none of it may end a shard."""
    sound = encoded(Image.fromarray(RGB).resize((64, 64)), kind)
    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(80):
        damaged = bytearray(sound)
        for place in rng.integers(0, min(len(sound), 400), 3):
            damaged[place] ^= int(rng.integers(1, 256))
        try:
            assert decode(bytes(damaged)).dtype == np.uint8
        except PictureError:
            failures += 1
    assert failures or kind in ("BMP", "PPM")  # most of whose bytes are pixels


def test_deep_grey_of_32_bits_keeps_its_contrast() -> None:
    for dtype, white in ((np.float32, 1.0), (np.float32, 200.0), (np.int32, 200), (np.int32, 60_000)):
        deep = np.linspace(0, white, 600).reshape(20, 30).astype(dtype)
        picture = decode(encoded(Image.fromarray(deep), "TIFF"))
        assert picture.max() >= 0.7 * 255, (dtype, white)
