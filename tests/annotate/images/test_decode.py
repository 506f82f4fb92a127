"""Does every kind of file become the right picture, or a named failure, with any packages installed?"""

from __future__ import annotations

import io
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

import annotate.images.decode
from annotate.errors import PictureError
from annotate.images import FolderImages
from annotate.images.decode import MAX_PIXELS, decode, measure
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from storage import Status, open_store
from tests.annotate.images.odd_pictures import ODD_PICTURES, READS_AVIF, SCENE, encoded, orientation, png, with_exif

SOUND_JPEGS = (
    *("plain JPEG", "grey JPEG", "progressive JPEG", "JPEG with trailing junk", "JPEG with a second picture (MPO)"),
    *("EXIF orientation", "EXIF of garbage", "EXIF that is cut short"),
)
NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("name", ODD_PICTURES)
def test_each_odd_picture_is_what_it_shows_or_a_named_failure(name: str) -> None:
    odd = ODD_PICTURES[name]
    if odd.shows is None:
        with pytest.raises(PictureError) as caught:
            decode(odd.data)
        assert caught.value.status == odd.status
        assert caught.value.reason
        return
    assert odd.status == Status.LABELLED
    picture = decode(odd.data)
    assert picture.shape == odd.shows.shape
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - odd.shows).mean() <= odd.error


def test_the_page_says_what_becomes_of_each() -> None:
    page = (Path(__file__).parents[3] / "docs/pictures.md").read_text()
    stated = dict(re.findall(r"^\| (.+?) \| .+ \| (\w+) \|$", page, re.MULTILINE))
    assert stated.pop("file") == "status"  # the head of the table
    assert stated == {name: odd.status.word for name, odd in ODD_PICTURES.items()}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty file", "the file is empty"),
        ("web page named .jpg", "not a picture of a known type"),
        ("JPEG cut short", "image file is truncated"),
        ("PostScript", "PostScript, which is a program and is not run; convert it to PNG"),
    ],
)
def test_the_reason_says_what_was_found(name: str, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        decode(ODD_PICTURES[name].data)


@pytest.mark.parametrize("exif", ["ignore", "apply"])
@pytest.mark.parametrize("name", [name for name, odd in ODD_PICTURES.items() if odd.shows is not None])
def test_measure_gives_the_size_that_decode_gives(name: str, exif: annotate.images.decode.Exif) -> None:
    data = ODD_PICTURES[name].data
    assert measure(data, exif=exif) == decode(data, exif=exif).shape[:2]


@pytest.mark.parametrize("name", ["empty file", "web page named .jpg", "bomb", "JPEG bomb", "PostScript"])
def test_measure_refuses_what_decode_refuses(name: str) -> None:
    with pytest.raises(PictureError) as caught:
        measure(ODD_PICTURES[name].data)
    assert caught.value.status == ODD_PICTURES[name].status


def test_each_odd_picture_has_its_rows_status(tmp_path: Path, recipe: Recipe) -> None:
    for name, odd in ODD_PICTURES.items():
        (tmp_path / f"{name}.JPEG").write_bytes(odd.data)
    summary = run(FolderImages(tmp_path), str(tmp_path / "labels.zarr"), recipe, LocalWorkers())
    store = open_store(tmp_path / "labels.zarr")
    found = dict(zip(store.keys, store.column("status").tolist(), strict=True))
    assert found == {f"{name}.JPEG": odd.status for name, odd in ODD_PICTURES.items()}
    sizes = dict(zip(store.keys, store.column("sizes").tolist(), strict=True))
    shown = {f"{name}.JPEG": odd.shows for name, odd in ODD_PICTURES.items() if odd.shows is not None}
    assert {key: tuple(sizes[key]) for key in shown} == {key: picture.shape[:2] for key, picture in shown.items()}
    assert not summary.complete


def test_pixels_pass_as_they_are_and_grey_is_repeated() -> None:
    assert decode(NOISE) is NOISE
    assert (decode(NOISE[..., 0]) == NOISE[..., :1]).all()
    assert decode(NOISE[..., 0]).shape == NOISE.shape
    assert measure(NOISE) == measure(NOISE[..., 0]) == (20, 30)


@pytest.mark.parametrize(
    "array",
    [
        NOISE[0, 0],
        NOISE[..., :1],
        NOISE[..., :2],
        np.dstack([NOISE, NOISE[..., :1]]),
        NOISE[None],
        NOISE.astype(np.uint16),
        NOISE.astype(np.float32),
        NOISE[:0],
        NOISE[:, :0, 0],
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_other_arrays_are_not_pictures(array: np.ndarray) -> None:
    for ask in (decode, measure):
        with pytest.raises(PictureError, match=re.escape(f"the array is {array.dtype} {list(array.shape)}")) as caught:
            ask(array)
        assert caught.value.status == Status.UNDECODABLE


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped() -> None:
    deep = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    expected = np.rint(deep / 257).astype(np.uint8)[..., None]
    for data in (encoded(deep, "PNG"), encoded(deep, "TIFF"), b"P5 30 20 65535\n" + deep.astype(">u2").tobytes()):
        assert (decode(data) == expected).all()


def test_sixteen_bits_of_colour_keep_their_high_byte() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    assert (decode(png(deep)) == deep >> 8).all()


def test_a_picture_taken_sideways_stays_so_unless_exif_is_applied() -> None:
    sideways = encoded(np.rot90(SCENE), "PNG", exif=orientation(6))  # 6: to be turned by 90 degrees clockwise
    assert (decode(sideways) == np.rot90(SCENE)).all()
    assert (decode(sideways, exif="apply") == SCENE).all()
    assert measure(sideways) == (64, 32)
    assert measure(sideways, exif="apply") == (32, 64)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", range(10))
def test_orientation_is_what_pil_makes_of_it(kind: str, value: int) -> None:
    tag = {"tiffinfo": {0x0112: value}} if kind == "TIFF" else {"exif": orientation(value)}
    data = encoded(NOISE, kind, **tag)
    with Image.open(io.BytesIO(data)) as image:
        stored, upright = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
    assert (decode(data) == stored).all()
    assert (decode(data, exif="apply") == upright).all()
    assert measure(data) == stored.shape[:2]
    assert measure(data, exif="apply") == upright.shape[:2]


@pytest.mark.parametrize("body", [b"Exif\0\0garbage" * 9, b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0", b"\xfe" * 99])
def test_garbled_exif_turns_nothing(body: bytes) -> None:
    jpeg = encoded(NOISE, "JPEG", dpi=(72, 72))  # which keeps PIL from reading the EXIF
    assert (decode(with_exif(jpeg, body), exif="apply") == decode(jpeg)).all()
    assert measure(with_exif(jpeg, body), exif="apply") == (20, 30)


@pytest.mark.parametrize(
    ("name", "warning"),
    [("EXIF that is cut short", "corrupt EXIF"), ("palette with transparency", "Palette images with Transparency")],
)
def test_threads_decode_what_pil_warns_of_and_leave_other_warnings_alone(name: str, warning: str) -> None:
    data = ODD_PICTURES[name].data
    with pytest.warns(UserWarning, match=f"(?i){warning}"):
        Image.open(io.BytesIO(data)).convert("RGB")
    alone = decode(data)
    with ThreadPoolExecutor(8) as threads:
        pictures = list(threads.map(decode, [data] * 1000))
    assert all((picture == alone).all() for picture in pictures)
    with pytest.raises(UserWarning, match="ours"):  # as setup.cfg has it
        warnings.warn("ours", UserWarning, stacklevel=1)


def test_a_decompression_bomb_is_refused_unopened() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    bomb = encoded(Image.new("1", (side, side)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(PictureError) as caught:
        decode(bomb)
    assert caught.value.status == Status.REFUSED


def test_a_bomb_is_refused_where_a_program_has_lifted_pils_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for name in ("bomb", "JPEG bomb"):
        with pytest.raises(PictureError, match="pixels are more than the 178,956,970 allowed") as caught:
            decode(ODD_PICTURES[name].data)
        assert caught.value.status == Status.REFUSED


KINDS = ("BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


@pytest.mark.parametrize("kind", [*KINDS, *["AVIF"] * READS_AVIF])
def test_damaged_bytes_of_any_kind_are_a_picture_or_a_named_failure(kind: str) -> None:
    """PIL's plugins raise RuntimeError, NotImplementedError and more; none of it may end a shard."""
    sound = encoded(Image.fromarray(NOISE).resize((64, 64)), kind)
    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(80):
        damaged = bytearray(sound)
        for place in rng.integers(0, min(len(sound), 400), 3):
            damaged[place] ^= int(rng.integers(1, 256))
        try:
            assert decode(bytes(damaged), exif="apply").dtype == np.uint8
        except PictureError:
            failures += 1
    assert failures or kind in ("BMP", "PPM")  # most of whose bytes are pixels
