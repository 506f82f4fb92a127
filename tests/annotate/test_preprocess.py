"""Does every mode look at the part of the picture that its box names?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.preprocess import MODES, Mode, preprocess
from storage import Box


def coordinates(height: int, width: int) -> np.ndarray:
    """A picture whose red is its y and whose green is its x, 0 to 255."""
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    picture = np.zeros((height, width, 3))
    picture[..., 0], picture[..., 1], picture[..., 2] = y[:, None] * 255, x[None] * 255, 255
    return picture.round().astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(40, 300), width=st.integers(40, 300), mode=st.sampled_from(MODES))
def test_each_pixel_shows_the_place_that_the_box_says(height: int, width: int, mode: Mode) -> None:
    size = (64, 48)
    pixels, box = preprocess(coordinates(height, width), size, mode)
    assert pixels.shape == (*size, 3)
    y = box.top + box.height * (np.arange(size[0]) + 0.5) / size[0]
    x = box.left + box.width * (np.arange(size[1]) + 0.5) / size[1]
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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_the_thinnest_pictures_fit(mode: Mode, shape: tuple[int, int]) -> None:
    pixels, _ = preprocess(np.zeros((*shape, 3), np.uint8), (32, 32), mode)
    assert pixels.shape == (32, 32, 3)
