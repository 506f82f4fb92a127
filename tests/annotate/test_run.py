"""Is a run resumable, refusing, and equal whoever does the work?"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import timm
from safetensors.torch import load_file, save_file

from annotate.errors import AnnotateError
from annotate.images import FolderImages, FolderReader, ImageSource, open_images
from annotate.job import LabelJob
from annotate.ray_workers import RayWorkers
from annotate.recipe import Recipe
from annotate.run import Summary, run
from annotate.shard import Shard
from annotate.workers import ATTEMPTS, Job, LocalWorkers
from storage import MismatchError, Progress, Status, StoreError, open_store, verify
from tests.conftest import MODEL_KWARGS, contents


def label(folder: Path, store: Path, recipe: Recipe, **options: object) -> Summary:
    options = {"workers": LocalWorkers(), "rows_per_shard": 8, **options}
    return run(FolderImages(folder), str(store), recipe, **options)


@pytest.fixture
def val(scene_folder: Path) -> Path:
    return scene_folder / "images" / "val"


def test_local_and_ray_workers_write_equal_stores(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path
) -> None:
    summary = label(val, tmp_path / "ray.zarr", recipe, workers=RayWorkers(2))
    assert summary.complete
    assert contents(tmp_path / "ray.zarr") == contents(finished)


def test_progress_is_told_from_nothing_to_all(val: Path, recipe: Recipe, checkpoint: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    summary = label(val, tmp_path / "labels.zarr", recipe, report=told.append)
    assert [(progress.done, progress.total) for progress in told] == [(n, 30) for n in (0, 8, 16, 24, 30)]
    assert (summary.pictures, summary.labelled, summary.labelled_now) == (30, 30, 30)


def test_running_again_does_nothing_and_loads_no_network(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm, "create_model", _no_network)
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    summary = label(val, finished, recipe)
    assert (summary.labelled_now, summary.labelled) == (0, 30)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


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
    difference = f"targets: in row 1, {names[1]!r}, the store has 5, this run has 6; 2 of 3 rows differ, and -1 is none"
    assert caught.value.differences == (difference,)
    with pytest.raises(MismatchError, match=f"in row 0, '{names[0]}', the store has 4, this run has -1; 2 of 3 rows"):
        run(listed("", "", ""), store, recipe, LocalWorkers())


@pytest.mark.parametrize("begun", [False, True])
def test_a_store_goes_on_compiled_or_not_as_it_was_begun(
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
    assert [job.compiled for job in jobs] == [begun] * 3
    words = f"compiled: the store has {begun}, this run has {not begun}; leave --compile and --no-compile out, and it"
    with pytest.raises(MismatchError, match=f"(?i){words} goes on as it was begun"):
        label(val, tmp_path / "labels.zarr", recipe, compiled=not begun, workers=Watched())


def _no_network(*args: object, **kwargs: object) -> None:
    pytest.fail("a network was loaded")


def test_a_run_killed_in_the_middle_goes_on_and_does_no_finished_shard_twice(
    scene_folder: Path, recipe: Recipe, checkpoint: Path, tmp_path: Path
) -> None:
    """SIGKILL to the real command with its Ray cluster; the rest is done by the same command."""
    images, store, undisturbed = scene_folder / "images" / "train", tmp_path / "a.zarr", tmp_path / "b.zarr"
    command = [sys.executable, "-m", "cli", "run", str(images), str(store), "--model", "test_resnet"]
    command += [word for key, value in MODEL_KWARGS.items() for word in ("--model-kwarg", f"{key}={value}")]
    command += ["--checkpoint", str(checkpoint), "--input-size", "64", "--rows-per-shard", "2", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    records = store / "shards" / "record" / "c"
    deadline = time.monotonic() + 120
    while len(_names(records)) < 5:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run made no progress"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = _settled(records)
    assert 5 <= len(finished) < 60

    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert f"labelled {120 - 2 * len(finished)} pictures" in again.stdout
    assert {name: (records / name).read_bytes() for name in finished} == finished
    label(images, undisturbed, recipe, rows_per_shard=2)
    assert contents(store) == contents(undisturbed)
    assert not list(store.rglob("*.partial"))


def _names(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if name.isdecimal()} if folder.is_dir() else set()


def _settled(records: Path) -> dict[str, bytes]:
    """The commit records, once the workers that outlived their driver by a moment have stopped writing."""
    found, since = _names(records), time.monotonic()
    while time.monotonic() - since < 3:
        time.sleep(0.1)
        if _names(records) != found:
            found, since = _names(records), time.monotonic()
    return {name: (records / name).read_bytes() for name in found}


@dataclass(frozen=True)
class Faulty:
    """A real job that fails, or dies, at one shard in its first attempts."""

    job: Job
    at: int
    attempts: int
    die: bool

    def start(self):
        do = self.job.start()

        def faulty(shard: Shard):
            if shard.rows.start == self.at and shard.attempt <= self.attempts:
                if self.die:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise RuntimeError("out of luck")
            return do(shard)

        return faulty


@dataclass(frozen=True)
class FaultyWorkers:
    """Workers that do a faulty job."""

    workers: LocalWorkers | RayWorkers
    at: int
    attempts: int
    die: bool = False
    count = 1
    about = "workers with faults"

    def map(self, job: Job, shards: Sequence[Shard], **named: object):
        yield from self.workers.map(Faulty(job, self.at, self.attempts, self.die), shards)


def test_a_shard_that_fails_is_tried_again(val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path):
    workers = FaultyWorkers(LocalWorkers(), at=8, attempts=ATTEMPTS - 1)
    summary = label(val, tmp_path / "labels.zarr", recipe, workers=workers)
    assert summary.complete
    assert open_store(tmp_path / "labels.zarr").record(1).run["attempt"] == ATTEMPTS
    assert contents(tmp_path / "labels.zarr") == contents(finished)


def test_a_shard_that_always_fails_is_given_up_and_the_next_run_tries_it_again(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path
) -> None:
    workers = FaultyWorkers(LocalWorkers(), at=8, attempts=99)
    summary = label(val, tmp_path / "labels.zarr", recipe, workers=workers)
    assert summary.given_up == ((range(8, 16), "RuntimeError: out of luck"),)
    assert (summary.labelled, summary.complete) == (22, False)
    assert open_store(tmp_path / "labels.zarr").pending() == [range(8, 16)]
    assert label(val, tmp_path / "labels.zarr", recipe).complete
    assert contents(tmp_path / "labels.zarr") == contents(finished)


@pytest.mark.parametrize("workers", [LocalWorkers(), RayWorkers(1)], ids=["local", "ray"])
def test_a_store_that_can_no_longer_be_written_ends_the_run(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path, workers: LocalWorkers | RayWorkers
) -> None:
    """Labelling on would cost every picture's time three times, for nothing."""
    store = Path(shutil.copytree(finished, tmp_path / "labels.zarr"))
    for shard in ("1", "2"):
        (store / "shards/record/c" / shard).unlink()
        (store / "scores/c" / shard / "0/0/0").unlink()
        (store / "scores/c" / shard / "0/0/0").mkdir()  # where the object should go
    with pytest.raises(StoreError, match=r"cannot write rows (8|16) to .* the same command goes on here"):
        label(val, store, recipe, workers=workers)


def test_few_pictures_make_small_shards_and_a_resumed_store_keeps_its_own(
    scene_folder: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path
) -> None:
    label(scene_folder / "images/train", tmp_path / "labels.zarr", recipe, rows_per_shard=None)
    assert open_store(tmp_path / "labels.zarr").schema.rows_per_shard == 120 // 16
    assert label(scene_folder / "images/val", finished, recipe, rows_per_shard=None).labelled_now == 0


def test_class_names_that_are_not_one_for_each_class_are_refused(val: Path, checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint)
    save_file(weights, tmp_path / "w.safetensors", metadata={"class_names": '["a", "b"]'})
    recipe = Recipe.for_model(
        "test_resnet", checkpoint=tmp_path / "w.safetensors", input_size=(64, 64), model_kwargs=MODEL_KWARGS
    )
    with pytest.raises(AnnotateError, match="2 class names come with the weights, but the model has 10 classes"):
        label(val, tmp_path / "labels.zarr", recipe)


def test_the_summary_says_what_is_not_exact_and_what_was_given_up() -> None:
    summary = Summary(
        pictures=9,
        labelled=0,
        failures=(),
        given_up=((range(9), "the worker died"),),
        labelled_now=0,
        seconds=1.0,
        left_out=0,
        head="approximate (7 %)",
    )
    text = summary.describe()
    assert text.startswith("nothing could be labelled\n")
    assert "the dense head is approximate (7 %)" in text
    assert "rows 0 to 9 were given up: the worker died" in text


def test_a_worker_that_is_killed_is_replaced_and_a_poisoned_shard_given_up(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path
) -> None:
    once, always = tmp_path / "once.zarr", tmp_path / "always.zarr"
    summary = label(val, once, recipe, workers=FaultyWorkers(RayWorkers(2), at=8, attempts=1, die=True))
    assert summary.complete
    assert contents(once) == contents(finished)
    summary = label(val, always, recipe, workers=FaultyWorkers(RayWorkers(2), at=8, attempts=99, die=True))
    assert summary.given_up == ((range(8, 16), "the worker died"),)
    assert open_store(always).pending() == [range(8, 16)]


def test_a_picture_that_vanishes_during_the_run_is_a_row(
    val: Path, recipe: Recipe, checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for n, path in enumerate(sorted(val.rglob("*.jpg"))[:6]):
        (folder / f"{n}.jpg").write_bytes(path.read_bytes())
    source = FolderImages(folder)
    (folder / "3.jpg").unlink()
    summary = run(source, str(tmp_path / "labels.zarr"), recipe, LocalWorkers())
    assert summary.failures == (("3.jpg", "missing", "the file is gone"),)
    store = open_store(tmp_path / "labels.zarr")
    assert store.column("status").tolist() == [0, 0, 0, Status.MISSING, 0, 0]
    assert verify(store).state == "ok"


def test_batches_do_not_mix_rows_up(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path
) -> None:
    """Another batch size may move a last bit, but never a label to another row."""
    label(val, tmp_path / "labels.zarr", recipe, batch_size=3)
    assert label(val, tmp_path / "labels.zarr", recipe).complete  # goes on with 3
    with pytest.raises(
        MismatchError, match="batch_size: the store has 3, this run has 32; another may move a last bit"
    ):
        label(val, tmp_path / "labels.zarr", recipe, batch_size=32)
    one, other = (open_store(path).read(range(30)) for path in (tmp_path / "labels.zarr", finished))
    assert (one.classes[..., 0] == other.classes[..., 0]).mean() > 0.999
    assert abs(one.scores - other.scores).max() < 0.03


def test_a_job_is_small_enough_to_travel(recipe: Recipe, checkpoint: Path, val: Path) -> None:
    import pickle

    job = LabelJob(reader=FolderReader(val), address="labels.zarr", recipe=recipe, k=5)
    assert len(pickle.dumps(job)) < 2000


def test_a_damaged_record_is_named_and_the_rest_is_done(
    val: Path, recipe: Recipe, finished: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(finished, tmp_path / "labels.zarr"))
    (store / "shards/record/c/1").write_bytes(b"xx")
    (store / "shards/record/c/2").unlink()
    summary = label(val, store, recipe)
    assert (summary.labelled, summary.labelled_now, summary.complete) == (22, 8, False)
    ((rows, why),) = summary.given_up
    assert rows == range(8, 16)
    assert "is damaged; `annotate verify" in why
