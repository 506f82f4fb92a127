"""Do the figures say what the labels say?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotate.errors import AnnotateError
from annotate.inspect import (
    Names,
    areas,
    audit,
    choose_rows,
    compare,
    describe,
    statistics,
    survey,
)
from annotate.inspect.statistics import _heads
from annotate.inspect.survey import entropy_bound
from storage import LabelMap, LabelStore, Progress, Status, open_store
from tests.annotate.inspect.stores import COUNT, a_store
from tests.conftest import dense
from tests.labels import random_labels


def test_a_survey_is_what_the_labels_say_one_by_one(store: LabelStore) -> None:
    """Compared with dense maps, a picture at a time; of what the store gives back."""
    found = survey(store)
    for row in range(10):
        label = store[row]
        full = dense(label, COUNT)
        mass = full.mean((1, 2))
        best, own = int(mass.argmax()), row % 5
        assert found.best[row] == best
        assert found.mass[row] == pytest.approx(mass[best], abs=1e-6)
        assert found.own[row] == pytest.approx(mass[own], abs=1e-6)
        assert found.peak[row] == pytest.approx(full[own].max(), abs=1e-6)
        assert found.doubt[row] == pytest.approx(1 - full[own].max(), abs=1e-6)
        assert found.confidence[row] == pytest.approx(full.max(0).mean(), abs=1e-6)
        assert found.area[row] == pytest.approx((label.classes[..., 0] == best).mean())
        rest = np.maximum(1 - full.sum(0), 0) / (full == 0).sum(0)  # spread over the classes that are not stored
        parts = np.where(full > 0, full, rest).clip(1e-30)
        assert found.entropy[row] == pytest.approx(-(parts * np.log(parts)).sum(0).mean(), abs=1e-5)
    tops = np.stack([store[row].classes[..., 0] for row in range(10)])
    assert found.locations.tolist() == [(tops == number).sum() for number in range(COUNT)]
    assert found.confidences.sum() == found.entropies.sum() == tops.size
    assert found.agreement == np.mean([found.best[row] == row % 5 for row in range(10)])
    assert sum(found.confused.values()) == round(10 * (1 - found.agreement))
    number = int(found.best[0])
    assert areas(store, number) == pytest.approx((tops == number).mean((1, 2)))


def location(*scores: float) -> LabelMap:
    """A label of one location with these probabilities."""
    label = random_labels(np.random.default_rng(0), 1, grid=(1, 1), k=len(scores))
    label.scores[0, 0, 0] = scores
    return label


def test_the_entropy_of_a_location_is_the_most_that_its_label_allows() -> None:
    def bound(*scores: float, count: int = 1000) -> float:
        return float(entropy_bound(location(*scores), count)[0, 0, 0])

    assert bound(1, 0, 0) == 0
    assert bound(0, 0, 0) == pytest.approx(np.log(1000))
    assert bound(0.5, 0.5, 0) == pytest.approx(np.log(2))
    rest = 0.8 / 998
    assert bound(0.1, 0.1, 0) == pytest.approx(-0.2 * np.log(0.1) - 0.8 * np.log(rest), rel=1e-5)
    # As one class, the remainder of 0.8 would make the second more certain than the first.
    assert bound(0.1, 0.06, 0.04) > bound(0.4, 0.4, 0.2)
    # It grows with what lies outside the stored classes, from nothing to everything.
    grows = [bound(0.6 * kept, 0.3 * kept, 0.1 * kept) for kept in np.linspace(1, 0, 50)]
    assert (np.diff(grows) > 0).all()
    assert bound(0.5, 0.3, 0.2, count=3) == pytest.approx(-sum(p * np.log(p) for p in (0.5, 0.3, 0.2)), rel=1e-5)


def test_the_least_certain_come_first_also_where_most_is_not_stored(tmp_path: Path) -> None:
    labels = LabelMap.stack(
        [location(*scores)[0] for scores in ((0.95, 0.03, 0.02), (0.4, 0.4, 0.2), (0.1, 0.06, 0.04))]
    )
    names = tuple(map(str, range(1000)))
    store = a_store(tmp_path / "labels.zarr", labels, class_count=1000, class_names=names, target_names=names)
    assert choose_rows(store, 3, order="entropy") == [2, 1, 0]
    assert choose_rows(store, 3, order="confidence") == [0, 1, 2]
    figures = statistics(store, survey(store), Names.of(store))
    assert figures.to_json()["entropy"] == pytest.approx(float(survey(store).entropy.mean()))
    assert "all classes alike would be 6.91" in describe(store, figures)


def test_a_survey_does_not_depend_on_how_much_it_reads_at_once(
    store: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = survey(store)
    monkeypatch.setattr(sys.modules["annotate.inspect.survey"], "_AT_ONCE", 2 * COUNT)
    pieces = survey(store)
    for name in ("confidence", "best", "peak", "locations", "class_entropy", "entropies"):
        assert np.allclose(getattr(whole, name), getattr(pieces, name), equal_nan=True)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (None, "not recorded"),
        ("exact", "exact"),
        ("approximate (7 %)", "approximate (7 %)"),
        ("exact, exact, exact", "exact for 3 networks"),
        ("exact, approximate (7 %), exact", "exact for 2 networks, approximate (7 %) for 1 network"),
    ],
)
def test_the_dense_heads_of_an_ensemble_are_counted(stored: str | None, words: str) -> None:
    assert _heads(stored) == words


def test_what_is_found_prints_as_a_line_and_not_as_its_arrays(store: LabelStore) -> None:
    found, names = survey(store), Names.of(store)
    assert repr(found) == "Survey(10 of 10 pictures labelled, 12 classes)"
    assert repr(statistics(store, found, names)).startswith("Statistics(10 of 10 pictures labelled, confidence=0.")
    assert repr(names) == "Names(12 classes: class 0, class 1, class 2, …)"
    assert repr(compare(store, store)) == "Comparison(10 pictures, agreement=1.000, divergence=0.0000)"
    assert repr(audit(store, found, names, fraction=0.2)) == "Audit(2 suspects of 10 pictures)"


def test_progress_is_reported_after_each_shard_up_to_all_rows(store: LabelStore) -> None:
    reported: list[Progress] = []
    survey(store, on_progress=reported.append)
    areas(store, 0, on_progress=reported.append)
    compare(store, store, on_progress=reported.append)
    assert reported == [Progress(4, 10, 0), Progress(8, 10, 0), Progress(10, 10, 0)] * 3


def test_what_is_unfinished_or_without_a_label_is_said_and_not_counted(labels: LabelMap, tmp_path: Path) -> None:
    broken = LabelMap.unlabelled(Status.UNDECODABLE, grid=labels.grid, k=labels.k, class_count=COUNT)
    labels = LabelMap.stack([broken, *(labels[n] for n in range(1, 10))])
    store = a_store(tmp_path / "labels.zarr", labels, keys=["\x1b[31mred.jpg", *(f"{n}.jpg" for n in range(1, 10))])
    (tmp_path / "labels.zarr/shards/record/c/2").unlink()
    store = open_store(tmp_path / "labels.zarr")
    figures = statistics(store, survey(store), Names.of(store))
    assert (figures.pictures, figures.labelled, figures.unlabelled) == (10, 7, {"undecodable": 1, "pending": 2})
    text = describe(store, figures)
    assert "10, of which 7 are labelled" in text
    assert "unfinished" in text
    assert "�[31mred.jpg: undecodable, it is broken" in text
    assert "\x1b" not in text


def test_figures_need_no_names_and_no_classes_of_the_pictures_own(labels: LabelMap, tmp_path: Path) -> None:
    store = a_store(tmp_path / "labels.zarr", labels, class_names=None, target_names=None)
    found = survey(store)
    figures = statistics(store, found, Names.of(store))
    assert figures.agreement is None
    assert figures.top_classes[0][0].isdecimal()


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"target_names": None, "targets": [-1] * 10}, "its pictures have no classes of their own"),
        ({"target_names": None}, "its pictures' own classes are numbers without names"),
        ({"class_names": None}, r"own classes \(class 0, class 1, class 2, …\) have names, .* give these with --names"),
        (
            {"target_names": ("é", "b")},
            r"own classes \(é, b\) are named differently from the annotator's \(class 0, class 1, class 2, …\)",
        ),
    ],
)
def test_why_no_class_of_the_pictures_is_the_annotators_is_said(
    labels: LabelMap, tmp_path: Path, about: dict[str, Any], words: str
) -> None:
    store = a_store(tmp_path / "labels.zarr", labels, **({"targets": [0, 1] * 5} | about))
    with pytest.raises(AnnotateError, match=f"cannot audit .*: .*{words}"):
        audit(store, survey(store), Names.of(store))
    with pytest.raises(AnnotateError, match=f"cannot sort .* by disagreement: .*{words}"):
        choose_rows(store, 3, order="disagreement")


def test_own_classes_meet_the_annotators_by_name(labels: LabelMap, tmp_path: Path) -> None:
    """A folder of some of its classes, in another order; and ImageNet's folders, which are named by synsets."""
    store = a_store(
        tmp_path / "some.zarr", labels, target_names=("class 4", "class 2", "other"), targets=[0, 1, 2] * 3 + [0]
    )
    found = survey(store)
    assert found.targets.tolist() == [4, 2, -1] * 3 + [4]
    assert found.agreement == np.mean([found.best[row] == found.targets[row] for row in range(10) if row % 3 < 2])
    synonyms = ("tabby, tabby cat", "crane, bird", "crane, machine", "Koala, koala bear", *"abcdefgh")
    store = a_store(
        tmp_path / "short.zarr",
        labels,
        class_names=synonyms,
        target_names=("koala", "tabby, tabby cat", "tabby cat", "crane", "crane, bird"),
        targets=[0, 1, 2, 3, 4] * 2,
    )
    assert survey(store).targets.tolist() == [3, 0, 0, -1, 1] * 2
    about = {"class_count": 1000, "class_names": tuple(f"name {n}" for n in range(1000))}
    store = a_store(tmp_path / "in.zarr", labels, target_names=("n01443537", "n01440764"), targets=[0, 1] * 5, **about)
    assert survey(store).targets.tolist() == [1, 0] * 5


def test_own_classes_meet_names_that_are_given(labels: LabelMap, tmp_path: Path) -> None:
    store = a_store(tmp_path / "labels.zarr", labels, class_names=None, target_names=("dog", "cat"), targets=[0, 1] * 5)
    assert survey(store).targets.tolist() == [-1] * 10
    given = Names(COUNT, ("cat", *(f"other {n}" for n in range(COUNT - 2)), "dog"))
    found = survey(store, names=given)
    assert found.targets.tolist() == [COUNT - 1, 0] * 5
    assert audit(store, found, given).pictures == 10


def test_what_another_tool_says_of_itself_is_text_and_never_an_error(labels: LabelMap, tmp_path: Path) -> None:
    for n, recipe in enumerate(
        (
            {"networks": [{"model": "\x1b]0;owned\x07\nx", "weights": "\x1b[2J"}], "preprocess": "\x1b[5m"},
            {"networks": [{}], "scales": 5},
            {"networks": "x", "scales": "y"},
            {},
        )
    ):
        store = a_store(tmp_path / f"{n}.zarr", labels, recipe=recipe, provenance={"head": "\x1b[7m", "networks": 3})
        text = describe(store, statistics(store, survey(store), Names.of(store)))
        assert "\x1b" not in text
        assert "\x07" not in text
        assert len(text.splitlines()) < 30
