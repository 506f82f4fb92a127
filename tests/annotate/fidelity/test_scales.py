"""Are scales recommended where they bring targets closer to the labels of crops, and only there?"""

from __future__ import annotations

from pathlib import Path

import pytest

from annotate.fidelity import Closeness, Worth, worth_of_scales
from annotate.fidelity.scales import AREA
from annotate.images import FolderImages
from tests.annotate.fidelity.annotators import recipe_of, write_pictures


def closeness(kl: float, half: float) -> Closeness:
    return Closeness(kl=kl, kl_interval=(kl - half, kl + half), agreement=0.5, agreement_interval=(0.4, 0.6))


@pytest.mark.parametrize(
    ("without", "with_scales", "words"),
    [
        ((1.0, 0.1), (0.5, 0.1), "give --scales 0.8,1,1.2, if 3 times the networks' work is acceptable"),
        ((1.0, 0.3), (0.9, 0.3), "the intervals overlap, so that 3 times the networks' work is not shown to be worth"),
        ((0.5, 0.1), (1.0, 0.1), "not shown to be worth it"),
    ],
)
def test_scales_are_recommended_only_where_the_intervals_are_apart(
    without: tuple[float, float], with_scales: tuple[float, float], words: str
) -> None:
    found = Worth(
        scales=(0.8, 1.0, 1.2),
        passes=3,
        without=closeness(*without),
        with_scales=closeness(*with_scales),
        pictures=16,
    )
    assert words in found.describe()
    assert found.to_json()["worth_it"] == words.startswith("give")


def test_both_are_measured_on_the_same_sample(tmp_path: Path) -> None:
    source, seen = FolderImages(write_pictures(tmp_path / "images", 6)), []
    found = worth_of_scales(source, recipe_of("local"), k=3, pictures=4, scales=(1.0, 2.0), on_picture=seen.append)
    assert (found.pictures, found.passes, found.scales) == (4, 2, (1.0, 2.0))
    assert seen == [1] * 8
    assert 0 < found.without.kl < 2
    assert found.without != found.with_scales
    of_all = worth_of_scales(source, recipe_of("of_all"), k=3, pictures=4, scales=(1.0, 2.0))
    assert of_all.without.kl > found.without.kl
    assert 0 < AREA < 1
