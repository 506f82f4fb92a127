"""Does an audit find the pictures whose class is wrong?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.images import FolderImages
from annotate.inspect import (
    Names,
    audit,
    survey,
)
from annotate.jobs.labelling.label_job import one_thread
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from demo import annotator, scenes
from storage import open_store
from tests.conftest import MODEL_KWARGS

SIDE = 40  # pixels of a picture


def write_digits(folder: Path, count: int) -> None:
    """Pictures of one digit each, below a folder for each class: for them a brief training is enough."""
    rng = np.random.default_rng(0)
    inks, digits = scenes.scans("train")
    for number in range(count):
        canvas = scenes.background(rng, SIDE, SIDE)
        scan, side = int(rng.integers(len(digits))), int(rng.integers(22, SIDE + 1))
        top, left = rng.integers(0, SIDE - side + 1, 2)
        scenes.draw(canvas, inks[scan], slice(top, top + side), slice(left, left + side))
        path = folder / str(digits[scan]) / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(canvas.round().astype(np.uint8)).save(path, quality=95)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 pictures of digits, labelled by an annotator that has learnt them."""
    root = tmp_path_factory.mktemp("judged")
    write_digits(root / "images", 1000)
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(annotator, "BATCH", 64)
        annotator.train(root / "annotator.safetensors", steps=150)
    recipe = Recipe.for_model(
        annotator.MODEL, checkpoint=root / "annotator.safetensors", input_size=(SIDE, SIDE), model_kwargs=MODEL_KWARGS
    )
    run(FolderImages(root / "images"), str(root / "labels.zarr"), recipe, LocalWorkers())
    return root / "labels.zarr"


def test_swapped_classes_are_found_among_the_first(judged: Path) -> None:
    """Two in a hundred pictures have another's class: at least 80 % of them are among the first 4 %, on average."""
    parts = []
    for seed in range(10):
        store = open_store(judged)
        rng, targets = np.random.default_rng(seed), store.targets.copy()
        swapped = rng.choice(len(store), len(store) // 50, replace=False)
        targets[swapped] = (targets[swapped] + rng.integers(1, 10, len(swapped))) % 10
        store.backend.__dict__["targets"] = targets
        found = audit(store, survey(store), Names.of(store), fraction=0.04)
        assert len(found.suspects) == 40
        assert found.suspects[0].doubt >= found.suspects[-1].doubt
        named = {one.key for one in found.suspects}
        parts.append(np.mean([store.keys[row] in named for row in swapped.tolist()]))
    assert np.mean(parts) >= 0.8, parts
    text = found.describe()
    assert "of 1,000 pictures, the 40 whose label contradicts their class most" in text
    assert "the annotator is least confident of" in text
