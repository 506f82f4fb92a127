"""What do the tests work on? Small real things: JPEG files, a timm network, stores that were really written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from annotate.images import FolderImages
from annotate.job import one_thread
from annotate.recipe import Recipe
from annotate.run import run
from annotate.workers import LocalWorkers
from benchmarks.annotators import randomise
from demo import scenes
from storage import LabelMap
from storage.labelmap import no_class

MODEL_KWARGS = {"output_stride": 8, "num_classes": 10}


@pytest.fixture
def single_threaded() -> Iterator[None]:
    """For pictures as small as ours, several threads only wait for one another."""
    with one_thread():
        yield


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small draw of the demo's scenes: images/train, images/val and their truth."""
    root = tmp_path_factory.mktemp("scenes")
    scenes.write(root, splits={"train": 120, "val": 30})
    return root


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network's weights as a file. It knows nothing, but it answers."""
    torch.manual_seed(0)
    model = randomise(timm.create_model("test_resnet", **MODEL_KWARGS))
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, path, metadata={"class_names": json.dumps(scenes.CLASS_NAMES)})
    return path


@pytest.fixture(scope="session")
def recipe(checkpoint: Path) -> Recipe:
    return Recipe.for_model("test_resnet", checkpoint=checkpoint, input_size=(64, 64), model_kwargs=MODEL_KWARGS)


@pytest.fixture(scope="session")
def finished(scene_folder: Path, checkpoint: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of the val scenes. Do not change it; copy it."""
    address = tmp_path_factory.mktemp("finished") / "labels.zarr"
    source = FolderImages(scene_folder / "images" / "val")
    run(source, str(address), recipe, LocalWorkers(), rows_per_shard=8)
    return address


@pytest.fixture(scope="session")
def small_demo(scene_folder: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `make demo` leaves below demo/out, in small. Do not change it; copy it."""
    root = tmp_path_factory.mktemp("small")
    out = root / "demo" / "out"
    shutil.copytree(scene_folder, out)
    for split in scenes.SPLITS:
        source = FolderImages(out / "images" / split)
        run(source, str(out / f"labels-{split}.zarr"), recipe, LocalWorkers())
    return root


@pytest.fixture
def demo_output(small_demo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, below the working directory."""
    monkeypatch.chdir(small_demo)
    return small_demo / "demo" / "out"


def dense(label: LabelMap, class_count: int) -> np.ndarray:
    """The map that the sparse label stands for: float64 [classes, h, w]."""
    out = np.zeros((class_count, *label.grid))
    for y, x, rank in np.ndindex(label.classes.shape):
        if label.classes[y, x, rank] != no_class(label.classes.dtype):
            out[label.classes[y, x, rank], y, x] += label.scores[y, x, rank]
    return out


def contents(store: Path) -> dict[str, object]:
    """Every file of a store by its path; of commit records all but who wrote them, when and in which attempt."""
    found: dict[str, object] = {}
    for path in sorted(store.rglob("*")):
        if path.is_file():
            name = path.relative_to(store).as_posix()
            found[name] = record_text(path) if name.startswith("shards/record/c/") else path.read_bytes()
    return found


def record_text(path: Path) -> dict[str, object]:
    """A commit record as it lies on disk, without its `run`."""
    # One string of Zarr's vlen-utf8 codec: their number, its length, its bytes; then the crc32c.
    record: dict[str, object] = json.loads(path.read_bytes()[8:-4])
    del record["run"]
    return record
