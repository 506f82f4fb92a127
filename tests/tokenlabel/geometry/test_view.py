"""Does a View cut pixels where it says, and compose?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from storage import Box
from tokenlabel import View, random_view


def coordinates(height: int, width: int) -> Image.Image:
    """A picture whose red is its y and whose green is its x."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = ((np.arange(height) + 0.5) / height * 255)[:, None]
    picture[..., 1] = ((np.arange(width) + 0.5) / width * 255)[None]
    return Image.fromarray(picture)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(60, 200), width=st.integers(60, 200))
def test_each_pixel_of_the_training_picture_comes_from_the_point_that_the_view_names(
    seed: int, height: int, width: int
) -> None:
    view = replace(random_view(np.random.default_rng(seed), (height, width)), flipped=bool(seed % 2))
    pixels = np.asarray(view.apply(coordinates(height, width), (32, 24)), float) / 255
    y = view.box.top + view.box.height * (np.arange(32) + 0.5) / 32
    x = view.box.left + view.box.width * (np.arange(24) + 0.5) / 24
    if view.mirrored:
        x = x[::-1]
    if view.flipped:
        y = y[::-1]
    assert np.abs(pixels[2:-2, 2:-2, 0] - y[2:-2, None]).max() < 0.02
    assert np.abs(pixels[2:-2, 2:-2, 1] - x[None, 2:-2]).max() < 0.02


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_view_of_a_view_is_a_view_of_the_source(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outer, inner = (
        replace(random_view(rng, (100, 100), scale=(0.3, 1)), flipped=bool(rng.random() < 0.5)) for _ in range(2)
    )
    source = coordinates(100, 100)
    once = outer.then(inner).apply(source, (40, 40))
    twice = inner.apply(outer.apply(source, (400, 400)), (40, 40))
    assert np.abs(np.asarray(once, float) - np.asarray(twice, float)).max() < 5


def test_the_same_generator_draws_the_same_view() -> None:
    draws = [random_view(np.random.default_rng([7, 3, 11]), (375, 500)) for _ in range(2)]
    assert draws[0] == draws[1]
    assert random_view(np.random.default_rng([7, 4, 11]), (375, 500)) != draws[0]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(1, 300), width=st.integers(1, 300))
def test_crops_have_whole_pixels_inside_the_picture(seed: int, height: int, width: int) -> None:
    box = random_view(np.random.default_rng(seed), (height, width)).box
    pixels = [box.top * height, box.left * width, box.bottom * height, box.right * width]
    assert pixels == pytest.approx([round(edge) for edge in pixels], abs=1e-6)
    assert min(box.edges) >= 0
    assert max(box.edges) <= 1


def test_areas_and_shapes_are_those_that_were_asked_for() -> None:
    rng = np.random.default_rng(0)
    views = [random_view(rng, (400, 400), scale=(0.2, 0.5), ratio=(0.5, 2.0), mirror=0.25) for _ in range(2000)]
    areas = np.array([view.box.height * view.box.width for view in views])
    shapes = np.array([view.box.width / view.box.height for view in views])
    assert 0.19 < areas.min() < 0.22
    assert 0.48 < areas.max() < 0.51
    assert 0.49 < shapes.min() < 0.55
    assert 1.9 < shapes.max() < 2.05
    assert abs(np.mean([view.mirrored for view in views]) - 0.25) < 0.05


def test_nothing_bleeds_in_from_outside_the_crop() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, 20:] = 255
    shown = View(Box(0, 0, 1, 0.5)).apply(Image.fromarray(picture), (32, 32))
    assert not np.asarray(shown).any()
