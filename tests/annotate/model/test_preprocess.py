"""Does every mode read the part of the picture that its box names, and nothing else?"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from annotate.errors import AnnotateError
from annotate.model.preprocess import MODES, Mode, center_box, preprocess
from storage import Box

COLOURS = np.array(
    [[230, 20, 30], [20, 200, 40], [30, 40, 220], [240, 220, 30]], np.uint8
)  # of the quadrants, row by row
REACH = {"nearest": 0.5, "box": 0.5, "bilinear": 1, "bicubic": 2, "lanczos": 3}  # of the filters, pixels
NOISE = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)


def coordinates(height: int, width: int) -> np.ndarray:
    """A picture whose red is its y and whose green is its x, 0 to 255."""
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    picture = np.zeros((height, width, 3))
    picture[..., 0], picture[..., 1], picture[..., 2] = y[:, None] * 255, x[None] * 255, 255
    return picture.round().astype(np.uint8)


def seam(pixels: int) -> int:
    """Where the colours meet, along a side of this many pixels: off the middle, where a wrong scale would not show."""
    return int(0.45 * pixels)


def quadrants(height: int, width: int) -> np.ndarray:
    """A picture of four colours."""
    down, across = np.arange(height) >= seam(height), np.arange(width) >= seam(width)
    return COLOURS[2 * down[:, None] + across]


def places(box: Box, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the centres of the input's rows and columns lie in the picture, by its box."""
    y = box.top + box.height * (np.arange(size[0]) + 0.5) / size[0]
    x = box.left + box.width * (np.arange(size[1]) + 0.5) / size[1]
    return y, x


def judged(place: np.ndarray, pixels: int, step: float, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of points along one side of this many pixels: which half each lies in, which show just one, which lie outside.

    step: of the input from pixel to pixel, as a fraction of the side.
    """
    middle, blur = seam(pixels) / pixels, reach * max(1 / pixels, step)
    part, inside = (place > middle).astype(int), (place > 0) & (place < 1)
    return part, inside & (np.abs(place - middle) > blur), ~inside


@pytest.mark.parametrize("interpolation", REACH)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "shape", [(90, 270), (270, 90), (120, 120), (97, 211), (500, 375), (7, 5), (2, 3000), (3000, 2)]
)
def test_each_pixel_shows_the_quadrant_that_its_box_names(
    shape: tuple[int, int], mode: Mode, interpolation: str
) -> None:
    for size in ((64, 64), (96, 48), (33, 80)):
        pixels, box = preprocess(quadrants(*shape), size, mode, interpolation=interpolation)
        assert (pixels.shape, pixels.dtype) == ((*size, 3), np.uint8)
        y, x = places(box, size)
        down, one_down, above_or_below = judged(y, shape[0], box.height / size[0], REACH[interpolation])
        across, one_across, beside = judged(x, shape[1], box.width / size[1], REACH[interpolation])
        outside = above_or_below[:, None] | beside[None]
        assert outside.any() == (mode == "letterbox" and shape[0] * size[1] != shape[1] * size[0])
        assert (pixels[outside] == 128).all()
        quarter = 2 * down[:, None] + across[None]
        error = np.abs(pixels.astype(int) - COLOURS[quarter]).max(-1)
        one = one_down[:, None] & one_across[None]
        assert error[one].max(initial=0) <= 2
        if min(shape) > 50:
            assert set(quarter[one].tolist()) == {0, 1, 2, 3}
            assert error[~outside].mean() < 30  # two quadrants swapped: 100 and more


@settings(max_examples=60, deadline=None)
@given(height=st.integers(40, 300), width=st.integers(40, 300), mode=st.sampled_from(MODES))
def test_each_pixel_shows_the_place_that_the_box_says(height: int, width: int, mode: Mode) -> None:
    size = (64, 48)
    pixels, box = preprocess(coordinates(height, width), size, mode)
    assert pixels.shape == (*size, 3)
    y, x = places(box, size)
    inner_y, inner_x = (y > 0.05) & (y < 0.95), (x > 0.05) & (x < 0.95)  # away from the filter's edge
    shown = pixels[inner_y][:, inner_x].astype(float) / 255
    assert np.abs(shown[..., 0] - y[inner_y][:, None]).max(initial=0) < 0.025
    assert np.abs(shown[..., 1] - x[inner_x][None]).max(initial=0) < 0.025


def test_squash_sees_all_center_its_middle_and_letterbox_more() -> None:
    picture = coordinates(100, 300)
    assert preprocess(picture, (64, 64), "squash")[1] == Box.whole()
    assert preprocess(picture, (64, 64), "center")[1].edges == pytest.approx((0, 1 / 3, 1, 2 / 3))
    pixels, box = preprocess(picture, (60, 60), "letterbox")
    assert box.edges == pytest.approx((-1, 0, 2, 1))
    assert (pixels[:20] == 128).all()
    assert (pixels[20:40, :, 2] == 255).all()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    interpolation=st.sampled_from(sorted(REACH)),
)
def test_the_box_of_center_is_exactly_the_pixels_that_are_read(
    shape: tuple[int, int], size: tuple[int, int], interpolation: str
) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*shape, 3), np.uint8)
    pixels, box = preprocess(picture, size, "center", interpolation=interpolation)
    edges = np.array(box.edges) * (*shape, *shape)
    top, left, bottom, right = edges.round().astype(int)
    assert edges == pytest.approx([top, left, bottom, right])
    alone = np.ascontiguousarray(picture[top:bottom, left:right])
    assert (preprocess(alone, size, "squash", interpolation=interpolation)[0] == pixels).all()
    other = rng.integers(0, 256, picture.shape, np.uint8)
    other[top:bottom, left:right] = alone
    assert (preprocess(other, size, "center", interpolation=interpolation)[0] == pixels).all()
    ideal = center_box(shape, size)
    assert np.abs(edges - np.array(ideal.edges) * (*shape, *shape)).max() <= 1
    assert min(shape[0] - (bottom - top), shape[1] - (right - left)) == 0  # the largest such rectangle


def test_center_box_is_not_rounded() -> None:
    """Labels of other tools are imported with it."""
    assert center_box((50, 33), (1, 1)).edges == pytest.approx((8.5 / 50, 0, 41.5 / 50, 1))
    assert center_box((33, 50), (2, 2)).edges == pytest.approx((0, 8.5 / 50, 1, 41.5 / 50))


@pytest.mark.parametrize("interpolation", REACH)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
def test_the_thinnest_pictures_fit(mode: Mode, shape: tuple[int, int], interpolation: str) -> None:
    colour = np.array([230, 20, 30], np.uint8)
    pixels, box = preprocess(np.tile(colour, (*shape, 1)), (32, 48), mode, interpolation=interpolation)
    assert pixels.shape == (32, 48, 3)
    y, x = places(box, (32, 48))
    inside = ((y > 0) & (y < 1))[:, None] & ((x > 0) & (x < 1))[None]
    assert inside.any()
    assert np.abs(pixels[inside].astype(int) - colour).max() <= 1
    assert (pixels[~inside] == 128).all()


def test_a_picture_of_the_inputs_size_is_not_changed() -> None:
    for mode in MODES:
        pixels, box = preprocess(NOISE, NOISE.shape[:2], mode)
        assert (pixels == NOISE).all()
        assert box == Box.whole()


def test_pictures_may_be_read_only_or_views() -> None:
    locked = NOISE.copy()
    locked.flags.writeable = False
    flipped = NOISE[::-1, ::-1]
    for mode in MODES:
        assert (preprocess(locked, (32, 48), mode)[0] == preprocess(NOISE, (32, 48), mode)[0]).all()
        assert (preprocess(flipped, (32, 48), mode)[0] == preprocess(flipped.copy(), (32, 48), mode)[0]).all()
    assert (locked == NOISE).all()


def test_an_unknown_interpolation_is_named() -> None:
    with pytest.raises(AnnotateError, match=r"one of nearest, .*bicubic, .*not 'random'"):
        preprocess(NOISE, (32, 32), "squash", interpolation="random")


# The same bytes everywhere


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_are_within_two_levels_of_pils(interpolation: str) -> None:
    """PIL is made to do widths first, as torch does: version 13 chooses, and clips what the first pass overshoots."""
    from sklearn.datasets import load_sample_image

    resample = Image.Resampling[interpolation.upper()]
    worst = 0
    for picture in (load_sample_image("china.jpg")[:200, 90:400], load_sample_image("flower.jpg"), NOISE):
        image = Image.fromarray(picture)
        for height, width in ((64, 64), (224, 224), (500, 300), (300, 700), (64, 700), (700, 64)):
            pixels, _ = preprocess(picture, (height, width), "squash", interpolation=interpolation)
            reference = image.resize((width, image.height), resample).resize((width, height), resample)
            worst = max(worst, np.abs(pixels.astype(int) - np.asarray(reference)).max())
    assert worst <= 2


def fitted() -> Iterator[bytes]:
    """What many pictures become, by the two filters that are torch's."""
    rng = np.random.default_rng(1)
    for shape in ((375, 500), (61, 40), (1, 300), (300, 1), (1, 1)):
        picture = rng.integers(0, 256, (*shape, 3), np.uint8)
        for mode in MODES:
            for size in ((224, 224), (70, 300), (13, 9)):
                for interpolation in ("bilinear", "bicubic"):
                    yield preprocess(picture, size, mode, interpolation=interpolation)[0].tobytes()


def test_bytes_do_not_depend_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(list(fitted()))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_bytes_do_not_depend_on_vector_instructions() -> None:
    code = (
        "import torch; from tests.annotate.model import test_preprocess as module; "
        "print(torch.backends.cpu.get_cpu_capability(), module.digest())"
    )
    plain = os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    answer = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True)
    *instructions, found = answer.stdout.split()
    assert " ".join(instructions) in ("DEFAULT", "NO AVX")  # the second is what torch 2.6 calls it
    assert found == digest()


def digest() -> str:
    """One number for all of `fitted`."""
    return hashlib.sha256(b"".join(fitted())).hexdigest()
