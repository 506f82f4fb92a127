"""Do a picture's largest classes have colours that differ, and classes the same colour on many pictures?"""

from __future__ import annotations

import numpy as np
import pytest

from annotate.inspect.palette import ON_PICTURES, SHOWN, colours_of, largest, shares
from tests.conftest import dense
from tests.labels import random_labels


def test_the_share_of_a_class_is_its_mean_probability_the_largest_first() -> None:
    label = random_labels(np.random.default_rng(1), 1, class_count=12)[0]
    found, expected = shares(label), dense(label, 12).mean((1, 2))
    assert found == pytest.approx({n: p for n, p in enumerate(expected.tolist()) if p > 0}, abs=1e-6)
    assert [*found.values()] == sorted(found.values(), reverse=True)
    assert sum(found.values()) == pytest.approx(1 - label.remainder.mean(), abs=1e-5)


def test_the_largest_classes_of_a_picture_have_a_colour_each_and_the_others_none() -> None:
    """Of a thousand classes, whose numbers would give ten of them one colour."""
    rng = np.random.default_rng(0)
    pictures = [
        dict(zip((10 * rng.choice(100, 20, replace=False)).tolist(), rng.dirichlet(np.ones(20)).tolist(), strict=True))
        for _ in range(40)
    ]
    for of_class, colours in zip(pictures, colours_of(pictures), strict=True):
        assert [*colours] == sorted(colours, key=lambda number: -of_class[number])
        assert 1 <= len(colours) <= SHOWN
        assert len(set(colours.values())) == len(colours)
        assert max((p for n, p in of_class.items() if n not in colours), default=0) <= min(map(of_class.get, colours))
    assert [*largest({1: 0.001, 2: 0.015, 3: 0.5})] == [3]
    assert [*largest({1: 0.001, 2: 0.015})] == [2]


def test_ten_classes_have_ten_colours_on_all_pictures() -> None:
    pictures = [{first: 0.6, second: 0.3} for first in range(10) for second in range(10) if first != second]
    seen: dict[int, set[tuple[int, int, int]]] = {number: set() for number in range(10)}
    for colours in colours_of(pictures):
        for number, colour in colours.items():
            seen[number].add(colour)
    assert all(len(colours) == 1 for colours in seen.values())
    assert len(set.union(*seen.values())) == 10


def test_a_class_keeps_its_colour_until_another_on_the_picture_has_it() -> None:
    first = [{n: 0.1} for n in range(10)]  # all colours are taken
    pictures = [*first, {10: 0.4}, {0: 0.2, 10: 0.4}, {10: 0.1}, {0: 0.3, 5: 0.1}]
    *_, alone, both, again, others = colours_of(pictures)
    assert alone[10] == again[10] == both[10] == ON_PICTURES[0]  # it shares the colour of class 0, and is larger here
    assert both[0] != both[10]
    assert others[0] == ON_PICTURES[0]


def test_where_a_colour_is_taken_the_most_different_one_is_given() -> None:
    """Orange is taken, then by a class of the same number; neither vermilion nor yellow is like enough to blue."""
    (colours,) = colours_of([{0: 0.5, 10: 0.3}])
    assert colours[0] == ON_PICTURES[0]
    far = np.abs(np.array(colours[10]) - ON_PICTURES[0]).sum()
    assert far > 250
