"""Is a coarser grid the mean over area, of every class?"""

from __future__ import annotations

import numpy as np
import pytest

from storage.encoding.averaged_grid import averaged
from storage.labelmap import no_class
from tests.conftest import dense
from tests.labels import random_labels


def mean_over_area(map_: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The mean of [classes, h, w] over each location of a grid: over pixels so small that each is in one location."""
    _, h, w = map_.shape
    small = map_.repeat(grid[0], 1).repeat(grid[1], 2)  # h * grid[0] x w * grid[1]
    return small.reshape(len(map_), grid[0], h, grid[1], w).mean((2, 4))


@pytest.mark.parametrize("grid", [(6, 5), (3, 5), (4, 3), (5, 2), (1, 1)])
def test_each_class_has_its_mean_over_the_area_of_the_location(grid: tuple[int, int]) -> None:
    labels = random_labels(np.random.default_rng(0), 3)
    classes, probabilities = averaged(labels.classes, labels.scores, grid, 40)
    for row in range(3):
        expected = mean_over_area(dense(labels[row], 40), grid)
        found = np.zeros_like(expected)
        for y, x in np.ndindex(grid):
            known = classes[row, y, x] != no_class(classes.dtype)
            assert len({*classes[row, y, x][known].tolist()}) == known.sum()
            found[classes[row, y, x][known], y, x] = probabilities[row, y, x][known]
        np.testing.assert_allclose(found, expected, atol=1e-7)
    assert (np.diff(probabilities, axis=-1) <= 0).all()


def test_the_best_classes_are_kept_and_the_rest_is_in_the_remainder() -> None:
    labels = random_labels(np.random.default_rng(0), 3)
    all_classes, all_of_them = averaged(labels.classes, labels.scores, (3, 2), 40)
    classes, probabilities = averaged(labels.classes, labels.scores, (3, 2), 2)
    assert (classes == all_classes[..., :2]).all()
    assert (probabilities == all_of_them[..., :2]).all()


def test_locations_count_with_the_area_that_is_covered() -> None:
    classes = np.array([7, 8, 9], np.uint16).reshape(1, 1, 3, 1)
    found, probabilities = averaged(classes, np.ones((1, 1, 3, 1), np.float32), (1, 2), 2)
    assert found.tolist() == [[[[7, 8], [9, 8]]]]
    np.testing.assert_allclose(probabilities, [[[[2 / 3, 1 / 3]] * 2]], atol=1e-7)


def test_a_finer_grid_is_refused() -> None:
    labels = random_labels(np.random.default_rng(0), 1)
    with pytest.raises(ValueError, match="6 x 5 cannot be averaged to one of 7 x 5"):
        averaged(labels.classes, labels.scores, (7, 5), 3)
