"""Is the distance of targets from answers that of annotators whose answers are known?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import entropy, sem, t

from annotate.errors import AnnotateError
from annotate.fidelity import annotator_of_store, fidelity, measure
from annotate.fidelity.distribution import answer_in
from annotate.images import FolderImages, by_key
from annotate.images.decode import decode
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from storage import Box, LabelStore, open_store
from tests.annotate.fidelity.annotators import CELL, SIDE, recipe_of, write_pictures


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("blocks") / "images", 12)


@pytest.fixture(scope="module")
def labelled(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LabelStore]:
    folder = tmp_path_factory.mktemp("stores")

    def store(function: str) -> LabelStore:
        address = folder / f"{function}.zarr"
        if not address.exists():
            run(FolderImages(images), str(address), recipe_of(function), LocalWorkers(), k=4, allow_global=True)
        return open_store(address)

    return store


@pytest.fixture
def whole_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops of 4x4 locations that begin where a location begins: one of their pixels becomes 2x2 of the input."""

    def crop(rng: np.random.Generator, size: tuple[int, int], area: float) -> tuple[slice, slice]:
        assert size == (SIDE, SIDE)
        side = round(SIDE * area**0.5)
        top, left = (int(rng.integers((SIDE - side) // CELL + 1)) * CELL for _ in range(2))
        return slice(top, top + side), slice(left, left + side)

    monkeypatch.setattr(measure, "random_crop", crop)


def found(store: LabelStore, images: Path, **settings: object) -> object:
    return fidelity(store, by_key(images), annotator_of_store(store), **settings)


@pytest.mark.usefixtures("whole_cells")
def test_targets_of_whole_cells_are_the_answers_of_a_local_annotator(
    images: Path, labelled: Callable[[str], LabelStore]
) -> None:
    one = found(labelled("local"), images, areas=(0.25, 1.0))
    assert one.pictures == 12
    assert [each.crops for each in one.sizes] == [24, 12]
    for each in one.sizes:
        assert each.label.kl < 1e-3  # scores are stored in steps
        assert each.label.agreement == 1
        assert each.label.agreement_interval[0] < 0.8  # 12 of 12 prove no more
        assert each.answer is None  # a function has no answer beside its map


def test_a_target_keeps_as_many_classes_as_training_does(images: Path, labelled: Callable[[str], LabelStore]) -> None:
    few, all_of_them = (found(labelled("local"), images, areas=(1.0,), keep=keep).sizes[0] for keep in (1, None))
    assert all_of_them.label.kl < 1e-3
    assert few.label.kl > 0.02


def test_random_crops_of_a_global_annotator_are_further_from_their_targets(
    images: Path, labelled: Callable[[str], LabelStore]
) -> None:
    local, of_all = (found(labelled(each), images, areas=(0.08, 0.5, 1.0)).sizes for each in ("local", "of_all"))
    assert of_all[0].label.kl_interval[0] > 2 * local[0].label.kl_interval[1]
    assert of_all[0].label.kl > of_all[1].label.kl > of_all[2].label.kl
    assert of_all[2].label.kl < 1e-3  # all of the picture: nothing is beside it
    assert of_all[0].label.agreement < local[0].label.agreement


def test_a_classifier_has_an_answer_of_its_own(finished: Path, scene_folder: Path, checkpoint: Path) -> None:
    store = open_store(finished)
    read, annotator = by_key(scene_folder / "images/val"), annotator_of_store(store, [checkpoint])
    one = fidelity(store, read, annotator, areas=(0.25, 1))
    assert one.pictures == len(store)
    for each in one.sizes:
        assert each.answer is not None
        assert 0 < each.answer.kl_interval[0] < each.answer.kl < each.answer.kl_interval[1]
    labels = store.read(range(len(store)))
    own = annotator.picture_logits([decode(read(key)) for key in store.keys])[0].double().softmax(-1).numpy()
    targets = [answer_in(labels[n], Box.whole(), store.schema.class_count, keep=8) for n in range(len(store))]
    apart = np.array([entropy(p, q) for p, q in zip(own, targets, strict=True)])
    assert one.sizes[1].answer.kl == pytest.approx(apart.mean(), rel=1e-3)
    low, high = t.interval(0.95, len(apart) - 1, apart.mean(), sem(apart))
    assert one.sizes[1].answer.kl_interval == pytest.approx((low, high), rel=5e-3)


def test_the_same_seed_gives_the_same_figures(images: Path, labelled: Callable[[str], LabelStore]) -> None:
    store = labelled("of_all")
    one, again, other = (found(store, images, pictures=5, areas=(0.25,), seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one.pictures == 5
    assert one.sizes != other.sizes


def test_pictures_that_cannot_be_read_are_counted(
    images: Path, labelled: Callable[[str], LabelStore], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(images, tmp_path / "images"))
    (folder / "03.png").write_bytes(b"no picture")
    one = found(labelled("local"), folder, areas=(1.0,))
    assert (one.pictures, one.left_out) == (11, 1)
    assert "1 pictures could not be read" in one.describe()


def test_one_readable_picture_is_not_enough(
    images: Path, labelled: Callable[[str], LabelStore], tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    shutil.copy(images / "03.png", tmp_path / "images")
    with pytest.raises(AnnotateError, match="of 12 pictures with a label that were chosen, only 1 can be read"):
        found(labelled("local"), tmp_path / "images")


def test_areas_are_fractions(images: Path, labelled: Callable[[str], LabelStore]) -> None:
    with pytest.raises(AnnotateError, match="must be fractions of the picture's"):
        found(labelled("local"), images, areas=(0.5, 25))


def test_a_tall_picture_that_is_cropped_to_its_centre_has_crops_outside(tmp_path: Path, images: Path) -> None:
    (tmp_path / "images").mkdir()
    for path in images.iterdir():
        with Image.open(path) as square:
            square.resize((SIDE, 4 * SIDE), Image.Resampling.NEAREST).save(tmp_path / "images" / path.name)
    recipe: Recipe = replace(recipe_of("local"), preprocess="center")
    run(FolderImages(tmp_path / "images"), str(tmp_path / "s.zarr"), recipe, LocalWorkers(), k=4)
    one = found(open_store(tmp_path / "s.zarr"), tmp_path / "images", areas=(0.08,), crops=4)
    assert one.outside > 5
    assert one.sizes[0].crops == 48 - one.outside
