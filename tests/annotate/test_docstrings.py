"""Do the examples of annotate's public names run, and is each object shown in one line?"""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

import annotate
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.status import StatusWatcher
from annotate.jobs.workers import LocalWorkers
from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from benchmarks.annotate.families import randomise
from storage import open_store

# Errors, and what functions give or take: their examples are those of the functions.
WITHOUT_EXAMPLE = {
    "AnnotateError",
    "Calibration",
    "DenseNetwork",
    "FunctionNetwork",
    "HubNetwork",
    "ImageSource",
    "Locality",
    "PictureError",
    "Plan",
    "Summary",
    "Workers",
}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples say there is: two pictures, of the classes a and b, and a checkpoint for 10 classes."""
    folder = tmp_path_factory.mktemp("example")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / "images" / name).mkdir(parents=True)
        pixels = rng.integers(0, 256, (48, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name / "picture.jpg")
    model = randomise(timm.create_model("test_resnet", num_classes=10))
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "weights.safetensors"
    )
    return folder


@pytest.mark.parametrize("name", annotate.__all__)
def test_the_example_of_a_public_name_runs(
    name: str, example: Path, monkeypatch: pytest.MonkeyPatch, single_threaded: None
) -> None:
    monkeypatch.chdir(example)
    found = [test for test in doctest.DocTestFinder(recurse=False).find(getattr(annotate, name), name) if test.examples]
    assert bool(found) == (name not in WITHOUT_EXAMPLE)
    for test in found:
        said: list[str] = []
        doctest.DocTestRunner().run(test, out=said.append)
        assert not said, "".join(said)


def test_every_public_name_has_a_docstring_of_its_own() -> None:
    for name in annotate.__all__:
        assert vars(getattr(annotate, name)).get("__doc__") or inspect.isfunction(getattr(annotate, name))
        assert inspect.getdoc(getattr(annotate, name))


def test_a_name_that_annotate_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'annotate' has no attribute 'runn'"):
        _ = annotate.runn
    assert set(annotate.__all__) <= set(dir(annotate))


def test_objects_are_shown_in_one_short_line(recipe: Recipe, finished: Path, single_threaded: None) -> None:
    network = recipe.networks[0]
    annotator = Annotator(recipe, k=3)
    prepared = annotator.prepare(np.zeros((48, 80, 3), np.uint8))
    shown = {
        repr(network): f"Network('test_resnet', input_size=(64, 64), weights='{network.weights[:15]}…')",
        repr(recipe): "Recipe('test_resnet')",
        repr(annotator): "Annotator('test_resnet', k=3, grid=(8, 8), device='cpu')",
        repr(prepared): "Prepared(size=(48, 80))",
        repr(LocalWorkers()): "LocalWorkers()",
        repr(annotate.RayWorkers()): "RayWorkers(address='local')",
        repr(annotate.RayWorkers(2, address="auto")): "RayWorkers(2, address='auto')",
        repr(Shard(range(8), ["a"] * 8)): "Shard(rows=range(0, 8), attempt=1)",
        repr(StatusWatcher(open_store(finished))): f"StatusWatcher({str(finished)!r})",
    }
    for found, expected in shown.items():
        assert found == expected
