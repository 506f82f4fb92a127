"""Are figures drawn where they are, however many lines there are?"""

from __future__ import annotations

import numpy as np
import pytest

from annotate.fidelity import Closeness, Line, curve
from annotate.fidelity.curve import COLOURS

BLUE, ORANGE = COLOURS[:2]


def closeness(kl: float, agreement: float) -> Closeness:
    return Closeness(
        kl=kl, kl_interval=(kl * 0.9, kl * 1.1), agreement=agreement, agreement_interval=(agreement - 0.1, agreement)
    )


def heights(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float]:
    """The mean row of a colour in the left and the right panel; where the key is does not count."""
    rows, columns = np.nonzero((np.abs(picture.astype(int) - colour) < 4).all(-1))
    below = rows > 70
    middle = picture.shape[1] / 2
    left, right = (rows[below & side] for side in (columns < middle, columns >= middle))
    return left.mean(), right.mean()


def test_a_larger_kl_is_higher_on_the_left_and_a_better_agreement_on_the_right() -> None:
    far = [(0.1, closeness(2.0, 0.2)), (1.0, closeness(1.8, 0.3))]
    near = [(0.1, closeness(0.5, 0.8)), (1.0, closeness(0.2, 0.9))]
    picture = np.asarray(curve("two annotators", [Line(name="far", points=far), Line(name="near", points=near)]))
    (far_left, far_right), (near_left, near_right) = heights(picture, BLUE), heights(picture, ORANGE)
    assert far_left < near_left
    assert near_right < far_right


@pytest.mark.parametrize("lines", [1, 3, 6])
@pytest.mark.parametrize("areas", [(1.0,), (0.01, 0.3), (0.08, 0.15, 0.25, 0.5, 0.75, 1.0)])
@pytest.mark.parametrize("kl", [0.0, 1e-4, 7.0])
def test_any_number_of_lines_and_sizes_makes_one_picture(lines: int, areas: tuple[float, ...], kl: float) -> None:
    points = [(area, closeness(kl, 1.0)) for area in areas]
    picture = curve("a title " * 40, [Line(name=f"line {n} " * 9, points=points) for n in range(lines)])
    assert picture.size == (1200, 500)
    last = COLOURS[lines - 1]  # which hides the others: all have the same figures
    assert (np.abs(np.asarray(picture).astype(int) - last) < 4).all(-1).sum() > 20
