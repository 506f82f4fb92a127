"""Do mosaics show four tiles of one size, and which locations lie inside one of them?"""

from __future__ import annotations

import numpy as np
import pytest

from annotate.locality.mosaic import mosaic, tile, tile_of_locations
from storage import Box


def test_four_tiles_lie_in_the_order_of_reading() -> None:
    tiles = [np.full((2, 3, 3), value, np.uint8) for value in range(4)]
    found = mosaic(tiles)
    assert found.shape == (4, 6, 3)
    assert found[::2, ::3, 0].tolist() == [[0, 1], [2, 3]]


def test_a_tile_is_half_an_input_and_has_no_bars() -> None:
    picture = np.full((30, 90, 3), 255, np.uint8)
    for mode in ("squash", "letterbox", "center"):
        found = tile(picture, (64, 32), mode, interpolation="bicubic")
        assert found.shape == (32, 16, 3)
        assert found.min() == 255


def test_a_tile_is_squashed_where_pictures_are_and_cropped_where_they_keep_their_shape() -> None:
    picture = np.zeros((30, 90, 3), np.uint8)
    picture[:, 30:60] = 255  # the middle third, a square
    means = [
        tile(picture, (64, 64), mode, interpolation="bicubic").mean() for mode in ("squash", "center", "letterbox")
    ]
    assert means[0] == pytest.approx(255 / 3, abs=3)
    assert min(means[1:]) > 230


def test_locations_that_reach_into_two_tiles_belong_to_none() -> None:
    assert tile_of_locations((2, 2), Box.whole()).tolist() == [[0, 1], [2, 3]]
    assert tile_of_locations((3, 3), Box.whole()).tolist() == [[0, -1, 1], [-1, -1, -1], [2, -1, 3]]
    assert (tile_of_locations((1, 1), Box.whole()) == -1).all()


def test_a_grid_that_lies_half_a_location_further_up_and_left_loses_those_on_the_seam() -> None:
    up = Box(-1 / 8, -1 / 8, 7 / 8, 7 / 8)
    assert tile_of_locations((4, 4), up)[0].tolist() == [0, 0, -1, 1]
    assert tile_of_locations((4, 4), up)[:, 0].tolist() == [0, 0, -1, 2]
