"""Is the locality of a network known beforehand what is measured, and is it said where it cannot be?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import sem, t

from annotate.images import FolderImages
from annotate.locality import LEAST, Example, Locality, locality, measure, mosaics_for
from annotate.model.annotator import Annotator
from storage import LabelMap, Status
from tests.annotate.locality.networks import recipe_of, write_pictures


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> FolderImages:
    return FolderImages(write_pictures(tmp_path_factory.mktemp("colours") / "images", 40))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> FolderImages:
    """Pictures that have classes in common."""
    return FolderImages(write_pictures(tmp_path_factory.mktemp("noisy") / "images", 40, noise=80))


def measured(source: FolderImages, model: str, *, k: int = 5, mosaics: int = 8, **settings: object) -> Locality:
    return locality(source, Annotator(recipe_of(model, **settings), k=k), mosaics=mosaics)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("preprocess", ["squash", "letterbox", "center"])
def test_a_receptive_field_of_one_cell_comes_to_1(colours: FolderImages, k: int, preprocess: str) -> None:
    found = measured(colours, "one_cell", k=k, preprocess=preprocess)
    assert found.value == pytest.approx(1, abs=1e-3)
    assert found.interval == pytest.approx((1, 1), abs=1e-3)
    assert found.kept == pytest.approx((1, 1, 1), abs=1e-3)
    assert found.mosaics == 8
    assert not found.is_global


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("pictures", ["colours", "noisy"])
def test_a_network_made_global_comes_to_a_quarter_within_its_interval(
    request: pytest.FixtureRequest, k: int, pictures: str
) -> None:
    found = measured(request.getfixturevalue(pictures), "everything", k=k)
    assert found.value == pytest.approx(0.25, abs=1e-6)
    low, high = found.interval
    assert low - 1e-6 <= 0.25 <= high + 1e-6 < 0.3
    assert found.kept[0] == pytest.approx(0, abs=1e-6)
    assert found.kept[1] - 1e-6 <= 0 <= found.kept[2] + 1e-6 < LEAST
    assert found.is_global


def test_pictures_with_classes_in_common_have_a_lower_share_and_a_local_network_keeps_all_of_it(
    noisy: FolderImages,
) -> None:
    found = measured(noisy, "one_cell")
    assert 0.3 < found.value < 0.95
    assert found.value == pytest.approx(found.alone)
    assert found.kept == pytest.approx((1, 1, 1))


def test_a_network_that_knows_half_of_the_whole_lies_between(noisy: FolderImages) -> None:
    found, local = (measured(noisy, name) for name in ("half", "one_cell"))
    assert 0.26 < found.interval[1] < local.interval[0]
    assert 0.01 < found.kept[0] < 0.9


@pytest.mark.parametrize("mosaics", [1, 2, 8])
def test_the_interval_is_students_over_the_mosaics_and_of_one_over_its_tiles(mosaics: int) -> None:
    shares = np.random.default_rng(0).normal((0.7, 0.8), 0.01, (mosaics, 4, 2))
    found = measure._locality(shares)
    each = shares[:, :, 0].mean(1) if mosaics > 1 else shares[0, :, 0]
    assert found.interval == pytest.approx(t.interval(0.95, len(each) - 1, each.mean(), sem(each)), rel=2e-3)


def test_the_interval_of_what_is_kept_has_the_truth_in_19_of_20_samples() -> None:
    rng, kept, hits = np.random.default_rng(0), 0.6, 0
    for _ in range(1000):
        alone = rng.normal(0.6, 0.1, (8, 1))
        beside = 0.25 + kept * (alone - 0.25) + rng.normal(0, 0.02, (8, 1))
        _, low, high = measure._locality(np.stack([beside, alone], -1).repeat(4, 1)).kept
        hits += low <= kept <= high
    assert 930 < hits < 970


@pytest.mark.parametrize(
    ("value", "kept", "expected"),
    [
        (0.6, (0.4, 0.35, 0.45), True),
        (0.6, (0.4, 0.2, 0.6), False),  # it may be more than a half
        (0.3, (0.9, 0.8, 1.0), False),  # vague, and local
    ],
)
def test_labels_are_global_where_all_of_the_interval_of_what_is_kept_is_below_a_half(
    value: float, kept: tuple[float, float, float], expected: bool
) -> None:
    found = Locality(value=value, interval=(value, value), alone=0.9, kept=kept, mosaics=8)
    assert found.is_global is expected


def test_several_passes_are_measured_together(colours: FolderImages) -> None:
    assert measured(colours, "one_cell", flip=True).value > 0.9
    both = measured(colours, "everything", flip=True, scales=(0.5, 1.0))
    assert both.value == pytest.approx(0.25, abs=1e-3)


def test_the_same_pictures_give_the_same_number(colours: FolderImages) -> None:
    assert measured(colours, "half") == measured(colours, "half")


def test_pictures_are_chosen_from_all_of_a_collection(colours: FolderImages) -> None:
    """The first ones of a folder are of one class, of which mosaics tell nothing."""
    examples: list[Example] = []
    locality(colours, Annotator(recipe_of("one_cell"), k=5), mosaics=2, on_mosaic=examples.append)
    assert max(key for example in examples for key in example.keys) > colours.keys[len(colours.keys) // 2]


def test_no_further_mosaic_is_begun_after_the_given_time(
    colours: FolderImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 1000, 25))
    monkeypatch.setattr(measure.time, "monotonic", lambda: next(now))
    assert locality(colours, Annotator(recipe_of("one_cell"), k=5), seconds=60).mosaics == 2


class Breaking(Annotator):
    """Has no finite answer to the first mosaics."""

    broken = 1

    def __call__(self, pictures: Sequence[np.ndarray]) -> LabelMap:
        labels = super().__call__(pictures)
        if self.broken:
            self.broken -= 1
            labels.scores[0], labels.status[0] = 0, Status.REFUSED
        return labels


def test_mosaics_without_a_finite_answer_are_left_out(colours: FolderImages) -> None:
    """They would count as global."""
    annotator = Breaking(recipe_of("one_cell"), k=5)
    found = locality(colours, annotator, mosaics=3)
    assert (found.value, found.mosaics) == (pytest.approx(1, abs=1e-3), 3)
    annotator.broken = 9
    assert str(locality(colours, annotator, mosaics=3)).startswith("not measured: the networks gave NaN or infinity")


def test_fewer_than_four_readable_pictures_are_not_measured(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "images", 3)
    for number in range(3):
        (folder / f"broken{number}.png").write_bytes(b"no picture")
    found = measured(FolderImages(folder), "one_cell")
    assert (found.value, found.interval, found.is_global) == (None, None, False)
    assert str(found) == "not measured: it takes 4 pictures that can be read, and of those chosen only 3 can"


def test_four_readable_pictures_are_enough(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "images", 4)
    (folder / "broken.png").write_bytes(b"no picture")
    assert measured(FolderImages(folder), "one_cell").mosaics == 1


def test_pictures_that_the_network_does_not_tell_apart_are_not_measured(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "images", 12, of=(200, 40, 40))
    found = measured(FolderImages(folder), "one_cell")
    assert found.value is None
    assert "do not tell the pictures apart" in str(found)


def test_what_is_measured_survives_json(colours: FolderImages) -> None:
    found = measured(colours, "half")
    again = Locality.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert str(again) == str(found)


def test_examples_show_the_share_of_each_location_for_its_own_tile(colours: FolderImages) -> None:
    examples: list[Example] = []
    locality(colours, Annotator(recipe_of("one_cell"), k=5), mosaics=5, on_mosaic=examples.append)
    assert len(examples) == 5
    for example in examples:
        assert example.picture.shape == (64, 64, 3)
        assert len({*example.keys}) == 4
        assert example.own.shape == example.label.grid == (8, 8)
        assert example.own == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("pictures", "expected"), [(4, 2), (100, 2), (160, 4), (1_281_167, 16)])
def test_a_job_of_many_pictures_has_more_mosaics(pictures: int, expected: int) -> None:
    assert mosaics_for(pictures) == expected
