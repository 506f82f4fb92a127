"""Is the scale of deep grey that of its file's type or of the setting, for all pictures alike and in little memory?"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from annotate.errors import AnnotateError, PictureError
from annotate.images import open_images
from annotate.images.decode import decode
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.locality import locality
from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from storage import MismatchError, Status, open_store
from tests.annotate.images.odd_pictures import encoded, orientation, png, tiff

RAMP = np.linspace(0, 1, 600).reshape(20, 30)
SHADES = np.rint(RAMP * 255).astype(np.uint8)[..., None].repeat(3, -1)
FLOATS = RAMP.astype(np.float32)


def changed(pixels: np.ndarray, value: float) -> np.ndarray:
    """The pixels with another first one."""
    found = pixels.copy()
    found[0, 0] = value
    return found


def differ(data: bytes, white: float | None = None) -> int:
    """By how many levels a picture of the ramp differs from it, at most; one comes from rounding twice."""
    return int(np.abs(decode(data, white=white).astype(int) - SHADES).max())


def reason(data: bytes, **settings: float) -> str:
    with pytest.raises(PictureError) as caught:
        decode(data, **settings)
    assert caught.value.status == Status.REFUSED
    return caught.value.reason


@pytest.mark.parametrize("value", [1.02, 255.5, 3.4e38, np.inf, -np.inf, np.nan, -9999.0, -0.01])
def test_one_pixel_does_not_decide_the_scale_of_floats(value: float) -> None:
    found = decode(tiff(changed(FLOATS, value)), white=1)
    assert (found[0, 0] == (255 if value > 1 else 0)).all()
    assert (found.reshape(-1, 3)[1:] == SHADES.reshape(-1, 3)[1:]).all()


def test_two_pictures_of_a_series_have_one_scale() -> None:
    bright, dark = (decode(tiff(FLOATS * white), white=255) for white in (255, 0.9))
    assert (bright == SHADES).all()
    assert dark.max() == 1


@pytest.mark.parametrize(
    "pixels", [FLOATS, FLOATS * 255, (RAMP * 60_000).astype(np.int32), (RAMP * 2**32 - 1).clip(0).astype(np.uint32),
               (RAMP * 32767).astype(np.int16)], ids=lambda pixels: str(pixels.dtype)
)  # fmt: skip
def test_where_white_is_unknown_the_row_says_how_to_state_it(pixels: np.ndarray) -> None:
    assert "does not say which value is white; say so with --white" in reason(tiff(pixels))
    assert decode(tiff(pixels), white=float(pixels.max())).max() == 255


def test_unsigned_32_bits_do_not_wrap() -> None:
    pixels = np.rint(RAMP * (2**32 - 1)).astype(np.uint32)
    assert (decode(tiff(pixels), white=2**32 - 1) == SHADES).all()


def test_twelve_bits_in_sixteen_are_not_taken_for_black() -> None:
    pixels = np.rint(RAMP * 4095).astype(np.uint16)
    for data in (png(pixels), tiff(pixels)):
        assert "of which it uses 12 or fewer" in reason(data)
        assert differ(data, white=4095) <= 1
        assert decode(data, white=65535).max() == 16
    assert (decode(png(pixels * 0)) == 0).all()


def test_dark_grey_stays_dark_where_the_file_or_the_setting_says_what_white_is() -> None:
    dark = np.linspace(0, 250, 600).reshape(20, 30).astype(np.uint16)
    header = b"P5 30 20 65535\n"
    for data, white in ((header + dark.astype(">u2").tobytes(), None), (png(dark), 65535.0), (tiff(dark), 65535.0)):
        assert decode(data, white=white).max() == 1


def test_a_file_that_states_white_is_right_whatever_the_setting_says() -> None:
    pgm = b"P5 30 20 1023\n" + np.rint(RAMP * 1023).astype(">u2").tobytes()
    for white in (None, 1.0, 4095.0):
        assert differ(pgm, white=white) <= 1


def test_white_may_be_zero_in_any_type() -> None:
    deep = np.rint(RAMP * 65535).astype(np.uint16)
    assert differ(tiff(65535 - deep, white_is_zero=True)) <= 1
    assert differ(tiff(1 - FLOATS, white_is_zero=True), white=1) <= 1
    assert (decode(tiff(changed(FLOATS, np.nan), white_is_zero=True), white=1)[0, 0] == 0).all()


def test_pictures_that_are_half_below_black_are_refused() -> None:
    assert "294 of 600 pixels below 0, which is black" in reason(tiff(FLOATS * 2 - 1), white=1)
    noise = np.random.default_rng(0).normal(0, 0.003, FLOATS.shape).astype(np.float32)
    assert decode(tiff(FLOATS + noise), white=1).max() >= 254


def test_deep_grey_is_turned_upright_as_other_pictures_are() -> None:
    deep = np.rint(RAMP * 65535).astype(np.uint16)
    sideways = encoded(np.rot90(deep).copy(), "PNG", exif=orientation(6))
    assert np.abs(decode(sideways, exif="apply").astype(int) - SHADES).max() <= 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read as Linux shows it")
@pytest.mark.parametrize(("dtype", "white"), [("uint16", None), ("float32", 1.0)])
def test_a_deep_picture_takes_half_more_memory_than_its_array(tmp_path: Path, dtype: str, white: float | None) -> None:
    deep = (np.linspace(0, 1, 16_000_000, dtype=np.float32).reshape(4000, 4000) * (white or 65535)).astype(dtype)
    (tmp_path / "deep.tif").write_bytes(tiff(deep))
    program = (
        "import json, sys; from pathlib import Path; from annotate.images.decode import decode\n"
        # Not ru_maxrss: Linux lets a program begin with that of the process that started it, which is larger.
        "status = lambda: Path('/proc/self/status').read_text()\n"
        "peak = lambda: int(status().partition('VmHWM:')[2].split()[0]) * 1024\n"
        "small, large, white = sys.argv[1:]; white = json.loads(white)\n"
        "decode(Path(small).read_bytes(), white=white); data = Path(large).read_bytes(); before = peak()\n"
        "decode(data, white=white); print(peak() - before)"
    )
    (tmp_path / "small.tif").write_bytes(tiff(deep[:600, :600]))
    files = [str(tmp_path / name) for name in ("small.tif", "deep.tif")]
    command = [sys.executable, "-c", program, *files, json.dumps(white)]
    taken = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert taken <= 1.5 * max(deep.nbytes, 3 * deep.size)


def test_white_is_in_the_recipe_of_a_store_and_decides_its_labels(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.tif").write_bytes(tiff(FLOATS))
    source = open_images(tmp_path / "images")
    for name, white in (("none", None), ("one", 1.0)):
        run(source, str(tmp_path / f"{name}.zarr"), replace(recipe, white=white), LocalWorkers())
    none, one = (open_store(tmp_path / f"{name}.zarr") for name in ("none", "one"))
    assert (none.column("status").tolist(), one.column("status").tolist()) == ([Status.REFUSED], [Status.LABELLED])
    assert "white" not in none.schema.recipe
    assert one.schema.recipe["white"] == 1.0
    assert Recipe.from_json(one.schema.recipe) == replace(recipe, white=1.0)
    with pytest.raises(MismatchError, match="white"):
        run(source, str(tmp_path / "one.zarr"), replace(recipe, white=255.0), LocalWorkers())


def test_locality_is_measured_on_the_pictures_as_a_run_sees_them(tmp_path: Path, recipe: Recipe) -> None:
    for number in range(4):
        (tmp_path / f"{number}.tif").write_bytes(tiff(np.roll(FLOATS, 50 * number) * 4095))
    source, seen = open_images(tmp_path), []
    for white in (4095.0, 8190.0):
        locality(source, Annotator(replace(recipe, white=white), k=3), mosaics=1, on_mosaic=seen.append)
    bright, dark = (example.picture.astype(int) for example in seen)
    assert bright.max() > 250
    assert np.abs(bright - 2 * dark).max() <= 3  # twice the white, half the grey; and what resizing rounds
    assert locality(source, Annotator(recipe, k=3), mosaics=1).why_not.endswith("only 0 can")


def test_a_recipe_without_white_is_written_as_before_there_was_white(recipe: Recipe) -> None:
    assert set(recipe.to_json()) == {
        *("networks", "preprocess", "exif", "head", "flip", "scales", "temperature", "precision")
    }


@pytest.mark.parametrize("white", [0.0, -1.0, float("nan"), float("inf")])
def test_a_white_that_is_no_positive_number_is_refused(recipe: Recipe, white: float) -> None:
    with pytest.raises(AnnotateError, match="white must be a number above 0"):
        replace(recipe, white=white)
