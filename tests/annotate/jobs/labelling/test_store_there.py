"""Does a run wait for a store that is away, and say what to do when it does not come back?"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from annotate.images import FolderImages
from annotate.jobs.labelling import store_there
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from storage import StoreError, open_store, verify
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
