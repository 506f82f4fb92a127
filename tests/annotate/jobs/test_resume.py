"""What does a run take from the store that it resumes, and what does it refuse?"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from safetensors.torch import load_file, save_file

from annotate.errors import AnnotateError
from annotate.images import ImageSource, open_images
from annotate.jobs.labelling.label_job import LabelJob
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.resume import rows_of_shards
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from storage import MismatchError, open_store
from tests.annotate.jobs.conftest import label
from tests.conftest import MODEL_KWARGS


def test_running_again_does_nothing_and_loads_no_network(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm, "create_model", _no_network)
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    summary = label(val, finished, recipe)
    assert (summary.labelled_now, summary.labelled) == (0, 30)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_checkout_that_is_not_installed_labels_as_well(
    val: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = importlib.metadata.version

    def installed(package: str) -> str:
        if package == "tokenlabel":
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr("annotate.software.version", installed)
    assert label(val, tmp_path / "s.zarr", recipe).labelled == 30
    software = open_store(tmp_path / "s.zarr").schema.provenance["software"]
    assert (software["tokenlabel"], software["torch"]) == ("not installed", version("torch"))


def test_another_model_k_grid_or_key_list_is_refused_before_a_network_is_loaded(
    val: Path, scene_folder: Path, recipe: Recipe, checkpoint: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm, "create_model", _no_network)
    other = Recipe.for_model("resnet18", checkpoint=checkpoint, input_size=(96, 64))
    with pytest.raises(MismatchError) as caught:
        label(scene_folder / "images" / "train", finished, other, k=3, rows_per_shard=4)
    named = [difference.split(":")[0] for difference in caught.value.differences]
    assert {"k", "keys", "recipe.networks[0].input_size", "recipe.networks[0].model", "rows_per_shard"} <= set(named)
    assert "recipe.networks[0].input_size: the store has [64, 64], this run has [96, 64]" in caught.value.differences
    assert 'recipe.networks[0].model: the store has "test_resnet", this run has "resnet18"' in str(caught.value)
    for change in (
        {"networks": (replace(recipe.networks[0], weights="sha256:0"),)},
        {"preprocess": "center"},
        {"flip": True},
        {"scales": (1.0, 1.5)},
        {"head": "frozen"},
        {"temperature": 2.0},
        {"exif": "apply"},
        {"precision": "bfloat16"},
    ):
        with pytest.raises(MismatchError, match=next(iter(change))):
            label(val, finished, replace(recipe, **change))


def test_other_targets_of_equal_pictures_are_refused_with_the_first_row_that_differs(
    val: Path, recipe: Recipe, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, store = tmp_path / "list.csv", str(tmp_path / "labels.zarr")
    for path in sorted(val.rglob("*.jpg"))[:3]:
        shutil.copy(path, tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.jpg"))

    def listed(*labels: str) -> ImageSource:
        lines = [f"{name},{label}" for name, label in zip(names, labels, strict=True)]
        pictures.write_text("\n".join(["path,label", *lines]))
        return open_images(pictures)

    assert run(listed("4", "5", ""), store, recipe, LocalWorkers()).complete
    monkeypatch.setattr(timm, "create_model", _no_network)
    assert run(listed("4", "5", "-1"), store, recipe, LocalWorkers()).labelled_now == 0
    with pytest.raises(MismatchError) as caught:
        run(listed("4", "6", "0"), store, recipe, LocalWorkers())
    difference = (
        f"targets: in row 1, {names[1]!r}, the store has 5, this run has 6; 2 of 3 rows differ, and -1 means no target"
    )
    assert caught.value.differences == (difference,)
    with pytest.raises(MismatchError, match=f"in row 0, '{names[0]}', the store has 4, this run has -1; 2 of 3 rows"):
        run(listed("", "", ""), store, recipe, LocalWorkers())


@pytest.mark.parametrize("begun", [False, True])
def test_a_store_is_continued_compiled_or_not_as_it_was_begun(
    val: Path, recipe: Recipe, checkpoint: Path, tmp_path: Path, begun: bool
) -> None:
    jobs: list[LabelJob] = []

    class Watched(LocalWorkers):
        def map(self, job: LabelJob, shards: Sequence[Shard], **named: object):
            jobs.append(job)
            return iter(())  # as if it had been interrupted before the first

    label(val, tmp_path / "labels.zarr", recipe, compiled=begun, workers=Watched())
    label(val, tmp_path / "labels.zarr", recipe, workers=Watched())
    label(val, tmp_path / "labels.zarr", recipe, compiled=begun, workers=Watched())
    assert [job.execution.compiled for job in jobs] == [begun] * 3
    words = f"compiled: the store has {begun}, this run has {not begun}; leave --compile and --no-compile out to"
    with pytest.raises(MismatchError, match=f"(?i){words} continue with that of the store"):
        label(val, tmp_path / "labels.zarr", recipe, compiled=not begun, workers=Watched())


def _no_network(*args: object, **kwargs: object) -> None:
    pytest.fail("a network was loaded")


@pytest.mark.parametrize(("pictures", "rows"), [(1, 8), (20, 8), (128, 8), (1600, 100), (1_281_167, 1024)])
def test_a_shard_has_a_sixteenth_of_the_pictures_but_neither_one_nor_too_many(pictures: int, rows: int) -> None:
    assert rows_of_shards(pictures) == rows


def test_few_pictures_make_small_shards_and_a_resumed_store_keeps_its_own(
    scene_folder: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path
) -> None:
    label(scene_folder / "images/train", tmp_path / "labels.zarr", recipe, rows_per_shard=None)
    assert open_store(tmp_path / "labels.zarr").schema.rows_per_shard == 8
    assert label(scene_folder / "images/val", finished, recipe, rows_per_shard=None).labelled_now == 0


def test_class_names_that_are_not_one_for_each_class_are_refused(val: Path, checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint)
    save_file(weights, tmp_path / "w.safetensors", metadata={"class_names": '["a", "b"]'})
    recipe = Recipe.for_model(
        "test_resnet", checkpoint=tmp_path / "w.safetensors", input_size=(64, 64), model_kwargs=MODEL_KWARGS
    )
    with pytest.raises(AnnotateError, match="2 class names come with the weights, but the model has 10 classes"):
        label(val, tmp_path / "labels.zarr", recipe)


def test_a_store_is_not_made_in_a_folder_that_is_away_with_its_mount(
    val: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a scheduler starts the command again on a machine without the mount: nothing is written, or loaded."""
    (tmp_path / "mount/mine").mkdir(parents=True)
    label(val, tmp_path / "mount/mine/s.zarr", recipe)
    (tmp_path / "mount").rename(tmp_path / "away")
    (tmp_path / "mount").mkdir()
    monkeypatch.setattr(timm, "create_model", _no_network)
    for name in ("s.zarr", "s.h5"):
        with pytest.raises(AnnotateError, match="mount that is away, connect that.*: mkdir -p /.*/mount/mine$"):
            label(val, tmp_path / "mount/mine" / name, recipe)
    assert [*(tmp_path / "mount").iterdir()] == []
    (tmp_path / "mount").rmdir()
    (tmp_path / "away").rename(tmp_path / "mount")
    assert label(val, tmp_path / "mount/mine/s.zarr", recipe).labelled_now == 0
