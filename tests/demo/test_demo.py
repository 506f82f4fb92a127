"""Can the demo's data prove a label wrong, and does its program run as README shows it?"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.jobs.labelling.label_job import one_thread
from demo import annotator, augmented_views, scenes, teaching
from demo.truth import label_truth
from storage import LabelMap, Schema, Status, create_store, open_store

ROOT = Path(__file__).parents[2]


def test_a_scene_is_a_function_of_its_number() -> None:
    one, same, other = (scenes.scene(0, "train", number) for number in (5, 5, 6))
    assert (one.picture == same.picture).all()
    assert (one.truth == same.truth).all()
    assert one.picture.shape != other.picture.shape or (one.picture != other.picture).any()


def test_the_splits_share_no_scan_and_use_all() -> None:
    train, val = (scenes.scans(split)[0].reshape(-1, 64) for split in scenes.SPLITS)
    assert len(train) + len(val) == 1797
    # A few different scans are equal; no index is in both.
    assert len(np.unique(np.concatenate([train, val]), axis=0)) >= 1797 - 10


def test_scenes_are_wide_and_tall_with_one_to_four_digits_and_the_class_of_the_largest() -> None:
    shapes, counts = set(), set()
    for number in range(60):
        scene = scenes.scene(0, "train", number)
        shapes.add(scene.truth.shape)
        areas = {digit: (scene.truth == digit).sum() for digit in np.unique(scene.truth) if digit != scenes.BACKGROUND}
        counts.add(len(areas))
        assert scene.digit in areas
        widest = max(np.ptp(np.nonzero(scene.truth == digit)[0]) for digit in areas)
        assert np.ptp(np.nonzero(scene.truth == scene.digit)[0]) >= 0.75 * widest
    assert shapes == {(48, 64), (64, 48)}
    assert {1, 2, 3} <= counts


def test_digits_are_where_the_truth_says(scene_folder: Path) -> None:
    """The ink is bright: inside the truth's boxes pixels are brighter than outside."""
    for path in sorted((scene_folder / "images/val").rglob("*.jpg"))[:10]:
        picture = np.asarray(Image.open(path).convert("L"), float)
        truth = np.asarray(Image.open(str(path).replace("images", "truth").replace(".jpg", ".png")))
        assert picture.shape == truth.shape
        assert picture[truth != scenes.BACKGROUND].mean() > picture[truth == scenes.BACKGROUND].mean() + 40
        assert picture[truth == scenes.BACKGROUND].max() < 256


def test_label_truth_counts_locations_inside_digits(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    truth = np.full((48, 64), scenes.BACKGROUND, np.uint8)
    truth[6:30, 16:33] = 3  # of cells 6 x 8 pixels: rows 1-4, columns 2-3
    Image.fromarray(truth).save(tmp_path / "truth/a.png")
    store = create_store(tmp_path / "s.zarr", Schema(grid=(8, 8), k=1, class_count=10, rows_per_shard=1), ["a.jpg"])
    classes = np.zeros((1, 8, 8, 1), np.uint16)
    classes[0, 1:3, 2:4] = 3
    one = np.ones((1, 8, 8, 1), np.float32)
    box, size, status = np.array([[0, 0, 1, 1]], np.float32), np.array([[48, 64]], np.uint32), [Status.LABELLED]
    store.write(range(1), LabelMap(classes, one, box, size, np.array(status, np.uint8)))
    assert label_truth(store, tmp_path / "truth") == (4, 8)


@pytest.fixture(scope="module")
def qualities(scene_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, augmented_views.Quality]:
    """The quality of each variant, with two annotators that were trained briefly, and of the second one alone."""
    paths = [tmp_path_factory.mktemp("annotators") / f"{seed}.safetensors" for seed in (0, 1)]
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(annotator, "BATCH", 64)
        for seed, path in enumerate(paths):
            annotator.train(path, seed=seed, steps=40)
    recipes = augmented_views.variants(paths, scene_folder / "images", count=100)
    recipes["the other network"] = augmented_views.variants(paths[::-1], scene_folder / "images", count=2)["one pass"]
    folders = scene_folder / "images/val", scene_folder / "truth/val"
    return {name: augmented_views.judge(name, recipe, *folders) for name, recipe in recipes.items()}


def test_each_variant_has_its_truth_and_calibration(qualities: dict[str, augmented_views.Quality]) -> None:
    assert [one.passes for one in qualities.values()] == [1, 2, 3, 2, 12, 1, 1]
    assert qualities["one pass"].truth > 0.2, "the annotator has learnt nothing, so that this test shows nothing"
    assert (
        qualities["one pass"]
        != qualities["`--flip`"]
        != qualities["`--scales 0.8,1.0,1.2`"]
        != qualities["two networks"]
    )
    assert all(0 <= one.error < 1 for one in qualities.values())
    rows = augmented_views.table([*qualities.values()]).splitlines()
    assert f"| one pass | 1 | {qualities['one pass'].truth:.3f} |" in rows[2]


def test_an_average_is_at_least_as_likely_as_its_parts_are_on_average(
    qualities: dict[str, augmented_views.Quality],
) -> None:
    """-log is convex: an ensemble that breaks this does not average the probabilities of the same locations."""
    alone = [qualities[name].nll for name in ("one pass", "the other network")]
    assert qualities["two networks"].nll <= np.mean(alone) + 1e-6


def test_a_temperature_changes_confidence_and_not_the_best_class(
    qualities: dict[str, augmented_views.Quality],
) -> None:
    (warm,) = (one for name, one in qualities.items() if "temperature" in name)
    assert warm.truth == qualities["one pass"].truth
    assert warm.nll != qualities["one pass"].nll


def test_readmes_program_is_the_example_and_runs(demo_output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = ROOT / "examples" / "train.py"
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert block.strip() in example.read_text()
    runpy.run_path(str(example))
    assert re.search(r"epoch 1: loss \d\.\d+", capsys.readouterr().out)


def test_every_student_is_trained_and_evaluated(demo_output: Path) -> None:
    accuracies = teaching.train_pair(demo_output, epochs=1)
    assert list(accuracies) == ["class labels", "class and token labels"]
    assert all(0 <= value <= 1 for value in accuracies.values())
    assert len(open_store(demo_output / "labels-train.zarr")) == 120
