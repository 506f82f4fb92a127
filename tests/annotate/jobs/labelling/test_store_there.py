"""Does a run wait for a store that is away, and say what to do when it does not come back?"""

from __future__ import annotations

import platform
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from annotate.errors import AnnotateError
from annotate.images import FolderImages, FolderReader
from annotate.jobs.labelling import store_there
from annotate.jobs.labelling.label_job import LabelJob
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from storage import LabelStore, StoreError, open_store, verify
from storage.zarr_backend.backend import ZarrBackend


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Move the store away when its third shard is to be written, and leave an empty mount point; or bring it back."""

    def arrange(store: Path, back_after: float | None) -> None:
        put, done = ZarrBackend.put, []

        def losing(backend: ZarrBackend, *arguments: Any, **named: Any) -> Any:
            done.append(1)
            if len(done) == 3:
                store.rename(store.with_name("away"))
                store.mkdir()
                if back_after is not None:
                    threading.Timer(back_after, back).start()
            return put(backend, *arguments, **named)

        def back() -> None:
            for path in sorted(store.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            store.rmdir()
            store.with_name("away").rename(store)

        monkeypatch.setattr(ZarrBackend, "put", losing)

    return arrange


def test_a_store_that_comes_back_is_finished(scene_folder: Path, recipe: Recipe, tmp_path: Path, lose: Any) -> None:
    store = tmp_path / "labels.zarr"
    lose(store, 1.5)
    summary = run(FolderImages(scene_folder / "images/val"), str(store), recipe, LocalWorkers(), rows_per_shard=4)
    assert (summary.labelled, summary.labelled_now, summary.complete) == (30, 30, True)
    assert {open_store(store).record(number).run["attempt"] for number in range(8)} == {1}  # to wait is no attempt
    assert verify(open_store(store), deep=True).state == "ok"


def test_a_store_that_stays_away_ends_the_run_with_what_to_do(
    scene_folder: Path, recipe: Recipe, tmp_path: Path, lose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_there, "PATIENCE", 0.2)
    store = tmp_path / "labels.zarr"
    lose(store, None)
    images = FolderImages(scene_folder / "images/val")
    with pytest.raises(StoreError, match=r"has been away for 0 seconds.*disk or mount.*run the same command to contin"):
        run(images, str(store), recipe, LocalWorkers(), rows_per_shard=4)
    for path in sorted(store.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    store.rmdir()
    store.with_name("away").rename(store)
    monkeypatch.undo()
    assert run(images, str(store), recipe, LocalWorkers(), rows_per_shard=4).complete
    assert verify(open_store(store), deep=True).state == "ok"


def test_a_worker_that_starts_while_the_store_is_away_waits_for_it(
    scene_folder: Path, recipe: Recipe, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is away, then an empty mount point; it comes back only once the worker has asked."""
    store, away = tmp_path / "labels.zarr", Path(shutil.copytree(finished, tmp_path / "away"))
    (away / "shards/record/c/1").unlink()
    asked: list[str] = []

    def asking(address: str, *, writable: bool) -> LabelStore:
        try:
            return open_store(address, writable=writable)
        except StoreError as error:
            asked.append(str(error))
            store.mkdir() if len(asked) == 1 else away.rename(store)
            raise

    monkeypatch.setattr(store_there, "open_store", asking)
    monkeypatch.setattr(store_there, "_POLL", 0.0)
    job = LabelJob(reader=FolderReader(scene_folder / "images/val"), address=str(store), recipe=recipe, k=5)
    handles = FolderImages(scene_folder / "images/val").handles[8:16]
    assert job.start()(Shard(range(8, 16), handles)).labelled == 8
    assert len(asked) == 2
    assert open_store(store).pending() == []


def test_a_worker_whose_machine_never_has_the_store_says_where(
    scene_folder: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_there, "PATIENCE", 0.2)
    monkeypatch.setattr(store_there, "_POLL", 0.05)
    reader = FolderReader(scene_folder / "images/val")
    job = LabelJob(reader=reader, address=str(tmp_path / "labels.zarr"), recipe=recipe, k=5)
    with pytest.raises(AnnotateError, match=f"a worker on {platform.node()} cannot open.*every machine of the cluster"):
        job.start()
