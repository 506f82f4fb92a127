"""Is a run complete, and what is not done named? That Ray makes the same store, tests/faults asserts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from annotate.images import FolderImages, FolderReader
from annotate.jobs.labelling.label_job import LabelJob
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from storage import MismatchError, Progress, Status, open_store, verify
from tests.annotate.jobs.conftest import label


def test_progress_is_reported_from_nothing_to_all(val: Path, recipe: Recipe, checkpoint: Path, tmp_path: Path) -> None:
    reported: list[Progress] = []
    summary = label(val, tmp_path / "labels.zarr", recipe, on_progress=reported.append)
    assert [(progress.done, progress.total) for progress in reported] == [(n, 30) for n in (0, 8, 16, 24, 30)]
    assert (summary.pictures, summary.labelled, summary.labelled_now) == (30, 30, 30)


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
    """Another batch size may change the last bit of a label, but it never puts a label into another row."""
    label(val, tmp_path / "labels.zarr", recipe, batch_size=3)
    assert label(val, tmp_path / "labels.zarr", recipe).complete  # continues with 3
    words = "batch_size: the store has 3, this run has 32; another may change the last bit of a label"
    with pytest.raises(MismatchError, match=f"{words}. Leave --batch-size out to continue with that of the store"):
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


def test_a_record_that_cannot_be_read_is_named_and_no_repair_is_recommended(
    val: Path, recipe: Recipe, finished: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(finished, tmp_path / "labels.zarr"))
    record = store / "shards/record/c/1"
    record.unlink()
    record.symlink_to(record)  # to itself: the system does not open it
    (store / "shards/record/c/2").unlink()
    summary = label(val, store, recipe)
    assert (summary.labelled, summary.labelled_now, summary.complete) == (22, 8, False)
    ((rows, why),) = summary.given_up
    assert rows == range(8, 16)
    assert "cannot read shards/record/c/1" in why
    assert "repair" not in why
