"""Does every kind of file become the right picture, or a named failure, whatever is installed?"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageCms, ImageOps

import annotate.decode
from annotate.decode import MAX_PIXELS, decode, measure
from annotate.errors import PictureError
from annotate.images import FolderImages
from annotate.recipe import Recipe
from annotate.run import run
from annotate.workers import LocalWorkers
from storage import Status, open_store
from tests.annotate.odd_pictures import ODD_PICTURES, SCENE, encoded, orientation, patched, png, with_exif

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
    page = (Path(__file__).parents[2] / "docs/pictures.md").read_text()
    told = dict(re.findall(r"^\| (.+?) \| .+ \| (\w+) \|$", page, re.MULTILINE))
    assert told.pop("file") == "status"  # the head of the table
    assert told == {name: odd.status.word for name, odd in ODD_PICTURES.items()}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty file", "the file is empty"),
        ("web page named .jpg", "not a picture of a known type"),
        ("JPEG cut short", "image file is truncated"),
        ("PostScript", "PostScript, a program that draws, and is not run; convert it to PNG"),
    ],
)
def test_the_reason_says_what_was_found(name: str, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        decode(ODD_PICTURES[name].data)


@pytest.mark.parametrize("exif", ["ignore", "apply"])
@pytest.mark.parametrize("name", [name for name, odd in ODD_PICTURES.items() if odd.shows is not None])
def test_measure_gives_the_size_that_decode_gives(name: str, exif: annotate.decode.Exif) -> None:
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


# Pixels that are no file


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
def test_other_arrays_are_no_pictures(array: np.ndarray) -> None:
    for ask in (decode, measure):
        with pytest.raises(PictureError, match=re.escape(f"the array is {array.dtype} {list(array.shape)}")) as caught:
            ask(array)
        assert caught.value.status == Status.UNDECODABLE


# Depth


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped() -> None:
    deep = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    expected = np.rint(deep / 257).astype(np.uint8)[..., None]
    for data in (encoded(deep, "PNG"), encoded(deep, "TIFF"), b"P5 30 20 65535\n" + deep.astype(">u2").tobytes()):
        assert (decode(data) == expected).all()


def test_dark_grey_stays_dark_where_the_file_says_what_white_is() -> None:
    dark = np.linspace(0, 250, 600).reshape(20, 30).astype(np.uint16)
    for data in (png(dark), b"P5 30 20 65535\n" + dark.astype(">u2").tobytes()):
        assert decode(data).max() == 1


def test_sixteen_bits_of_colour_keep_their_high_byte() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    assert (decode(png(deep)) == deep >> 8).all()


def test_deep_grey_of_32_bits_keeps_its_contrast() -> None:
    for dtype, white in ((np.float32, 1.0), (np.float32, 200.0), (np.int32, 200), (np.int32, 60_000)):
        deep = np.linspace(0, white, 600).reshape(20, 30).astype(dtype)
        assert decode(encoded(deep, "TIFF")).max() >= 0.7 * 255, (dtype, white)


# Orientation


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
    jpeg = encoded(NOISE, "JPEG", dpi=(72, 72))  # which keeps PIL from looking into the EXIF by itself
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


# Sooner, and the same


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
            patch.setattr(annotate.decode, "_QUICK", False)
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
        encoded(SCENE, "JPEG", comment=b"\xff\xc9"),  # may be arithmetic: it is not looked at more closely
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
    code = f"{change}\nimport sys\nfrom annotate import decode as module\n"
    code += "print(module._QUICK, module.decode(sys.stdin.buffer.read()).tobytes().hex())"
    data = ODD_PICTURES["plain JPEG"].data
    answer = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True).stdout.split()
    assert answer == [b"False", decode(data).tobytes().hex().encode()]
    assert annotate.decode._QUICK


# Damage and danger


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


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
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
