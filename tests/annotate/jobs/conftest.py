"""What do the tests of jobs share? The pictures that they label, and the call that does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotate.images import FolderImages
from annotate.jobs.run import run
from annotate.jobs.summary import Summary
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe


def label(folder: Path, store: Path, recipe: Recipe, **options: object) -> Summary:
    options = {"workers": LocalWorkers(), "rows_per_shard": 8, **options}
    return run(FolderImages(folder), str(store), recipe, **options)


@pytest.fixture
def val(scene_folder: Path) -> Path:
    return scene_folder / "images" / "val"
