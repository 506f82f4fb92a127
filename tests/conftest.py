"""What do the tests work on? Small real things: JPEG files, a timm network, stores that were really written.

What is expensive is made once for all processes of `pytest --numprocesses`; see `_made_once`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

# One thread for each process, and those that it starts: the tests themselves run in parallel. Read by torch when it is
# imported, and by BLAS and OpenMP.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray's workers would run at nice 15, and get no turn beside the processes of other tests.
os.environ.setdefault("RAY_worker_niceness", "0")

import numpy as np
import pytest
import timm
import torch
from filelock import FileLock
from hypothesis import HealthCheck, settings
from safetensors.torch import save_file

from annotate.cluster.connection import LOCAL, connected
from annotate.images import FolderImages
from annotate.jobs.labelling.label_job import one_thread
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from benchmarks.annotate.families import randomise
from demo import scenes
from storage import LabelMap
from storage.labelmap import no_class

MODEL_KWARGS = {"output_stride": 8, "num_classes": 10}
RAY = ("tests/annotate/cluster/", "tests/faults/", "tests/benchmarks/test_annotate.py")  # what starts Ray, mostly

# No test asserts a time: on a busy machine Hypothesis's own limits would fail.
settings.register_profile("no limits of time", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no limits of time")


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is read from a bucket is kept in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENLABEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def single_threaded() -> Iterator[None]:
    """For pictures as small as ours, several threads only wait for one another."""
    with one_thread():
        yield


def pytest_itemcollected(item: pytest.Item) -> None:
    """With `--dist loadgroup`, keep the tests of a file together, and all that start Ray.

    A file's fixtures are then made once; and two clusters at once would be four workers on two cores. The mark is set
    here because pytest-xdist reads it before this file's `pytest_collection_modifyitems`.
    """
    if not item.get_closest_marker("xdist_group"):
        group = "ray" if item.nodeid.startswith(RAY) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that start Ray come first: they take longest, and no other process can share them."""
    items.sort(key=lambda item: not item.nodeid.startswith(RAY))  # stable: everything else keeps its order


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder of this name that the first process to ask for it makes, and all processes of this run share."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder, finished = folder / name, folder / f"{name}.finished"
    with FileLock(folder.with_suffix(".lock")):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the demo's scenes: images/train, images/val and their truth. Do not change it; copy it."""
    return _made_once(tmp_path_factory, "scenes", lambda root: scenes.write(root, splits={"train": 120, "val": 30}))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network's weights as a file: random, so that its answers mean nothing."""

    def make(folder: Path) -> None:
        torch.manual_seed(0)
        model = randomise(timm.create_model("test_resnet", **MODEL_KWARGS))
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, folder / "random.safetensors", metadata={"class_names": json.dumps(scenes.CLASS_NAMES)})

    return _made_once(tmp_path_factory, "weights", make) / "random.safetensors"


@pytest.fixture(scope="session")
def recipe(checkpoint: Path) -> Recipe:
    return Recipe.for_model("test_resnet", checkpoint=checkpoint, input_size=(64, 64), model_kwargs=MODEL_KWARGS)


@pytest.fixture(scope="session")
def finished(scene_folder: Path, checkpoint: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of the val scenes. Do not change it; copy it."""

    def make(folder: Path) -> None:
        source = FolderImages(scene_folder / "images" / "val")
        run(source, str(folder / "labels.zarr"), recipe, LocalWorkers(), rows_per_shard=8)

    return _made_once(tmp_path_factory, "finished", make) / "labels.zarr"


@pytest.fixture(scope="session")
def small_demo(scene_folder: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `make demo` leaves below demo/out, in small. Do not change it; copy it."""

    def make(root: Path) -> None:
        out = root / "demo" / "out"
        shutil.copytree(scene_folder, out)
        for split in scenes.SPLITS:
            source = FolderImages(out / "images" / split)
            run(source, str(out / f"labels-{split}.zarr"), recipe, LocalWorkers())

    return _made_once(tmp_path_factory, "small", make)


@pytest.fixture
def demo_output(small_demo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, below the working directory."""
    monkeypatch.chdir(small_demo)
    return small_demo / "demo" / "out"


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """One Ray for all jobs of a file, which otherwise start one each; not for tests with a cluster of their own."""
    with connected(LOCAL):
        yield


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
