"""Has a random crop the area that was asked for, inside the picture, in the usual shapes?"""

from __future__ import annotations

import numpy as np
import pytest

from annotate.fidelity.crops import random_crop


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (500, 500), (300, 1500)])
@pytest.mark.parametrize("area", [0.08, 0.25, 0.75, 1.0])
def test_a_crop_has_its_area_and_a_shape_that_fits(size: tuple[int, int], area: float) -> None:
    rng, places, shapes = np.random.default_rng(0), set(), []
    for _ in range(50):
        rows, columns = random_crop(rng, size, area)
        assert 0 <= rows.start < rows.stop <= size[0]
        assert 0 <= columns.start < columns.stop <= size[1]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        assert height * width / (size[0] * size[1]) == pytest.approx(area, rel=0.01)
        places.add((rows.start, columns.start))
        shapes.append(width / height)
    if area < 1:
        assert len(places) > 10
    if area <= 0.5 and max(size) < 2 * min(size):
        assert 0.74 < min(shapes) < 0.85
        assert 1.2 < max(shapes) < 1.35


def test_all_of_the_picture_is_one_crop() -> None:
    assert random_crop(np.random.default_rng(0), (300, 1500), 1) == (slice(0, 300), slice(0, 1500))


def test_a_crop_of_a_tiny_picture_has_a_pixel() -> None:
    rows, columns = random_crop(np.random.default_rng(0), (2, 3), 0.01)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (1, 1)
