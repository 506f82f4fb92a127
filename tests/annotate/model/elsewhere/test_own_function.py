"""Does a function of the user's label pictures, and is what is wrong with its answer said before a job begins?"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from annotate.errors import AnnotateError
from annotate.images import FolderImages
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.annotator import Annotator
from annotate.model.elsewhere.own_function import FunctionNetwork, is_function
from annotate.model.elsewhere.own_map import OwnMap
from annotate.model.recipe import Recipe
from storage import Status, open_store

EXAMPLES = Path(__file__).parents[4] / "examples" / "annotators"
MODULE = """
import torch
from storage import Box
class Mine:
    class_names = ["red", "green"]
    input_size = (8, 16)
    gives = "probabilities"
    box = Box(0, 0, 1, 0.5)
    def __call__(self, pixels):
        left = pixels[..., :8].unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5)).permute(0, 2, 3, 1)
        {answer}
def make():
    return Mine()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module of this test alone, in the current folder; its name."""
    name = f"own_{abs(hash(request.node.name))}"
    write(tmp_path / f"{name}.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def write(
    file: Path, answer: str = "return 0.9 * left[..., :2] / left.sum(-1, keepdim=True).clamp_min(1)", **attributes: str
) -> None:
    text = MODULE.format(answer=answer)
    for name, value in attributes.items():
        text = text.replace("    def __call__", f"    {name} = {value}\n    def __call__")
    file.write_text(text)


def picture() -> np.ndarray:
    """Left half: red above green; right half: blue."""
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:4, :8, 0] = pixels[4:, :8, 1] = pixels[:, 8:, 2] = 255
    return pixels


def test_a_function_has_the_labels_the_box_and_the_remainder_that_it_gives(module: str) -> None:
    recipe = Recipe.for_model(f"{module}:make")
    annotator = Annotator(recipe, k=2)
    labels = annotator([picture()])
    assert (annotator.grid, annotator.class_count, recipe.class_names()) == ((2, 2), 2, ("red", "green"))
    assert labels.classes[0, :, :, 0].tolist() == [[0, 0], [1, 1]]
    np.testing.assert_allclose(labels.scores[0, :, :, 0], 0.9, atol=1e-6)
    assert labels.boxes[0].tolist() == [0, 0, 1, 0.5]
    assert str(annotator.consistency[0]) == "own map"
    assert annotator.provenance[0]["function"] == f"{module}:make"


def test_the_distance_between_locations_follows_a_box_and_a_grid_that_are_not_square(module: str) -> None:
    own = OwnMap(FunctionNetwork.of(f"{module}:make").build(), module)
    assert own.steps((24, 40), (3, 5)) == (8, 4)  # 24 rows of pixels and the left 20 columns


def test_a_store_of_a_function_is_labelled_resumed_and_names_it(module: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.fromarray(picture()).save(tmp_path / "images" / "a.png")
    recipe, address = Recipe.for_model(f"{module}:make"), str(tmp_path / "labels.zarr")
    for _ in range(2):
        assert run(FolderImages(tmp_path / "images"), address, recipe, LocalWorkers(), k=2).complete
    schema = open_store(address).schema
    assert schema.class_names == ("red", "green")
    assert Recipe.from_json(schema.recipe) == recipe
    assert schema.provenance["head"] == "own map"


def test_a_function_with_another_file_is_not_mixed_into_a_store(module: str, tmp_path: Path) -> None:
    recipe = Recipe.for_model(f"{module}:make")
    write(tmp_path / f"{module}.py", "return left[..., :2]")
    with pytest.raises(AnnotateError, match="has changed since the job began"):
        recipe.networks[0].build()


def test_logits_need_not_add_up_to_anything_and_flips_are_mirrored_back(module: str, tmp_path: Path) -> None:
    write(tmp_path / f"{module}.py", "return 20 * left[..., :2]", gives='"logits"', box="Box.whole()")
    labels = Annotator(Recipe.for_model(f"{module}:make"), k=1)([picture()])
    assert labels.classes[0, :, :, 0].tolist() == [[0, 0], [1, 1]]
    assert labels.scores.min() > 0.99
    flipped = replace(Recipe.for_model(f"{module}:make"), flip=True)
    assert Annotator(flipped, k=1)([picture()]).classes.shape == (1, 2, 2, 1)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("return left[..., :2] * float('nan')", "gives NaN or infinity for noise"),
        ("return left[..., :2].tolist()", r"gave list for 2 pictures; expected a floating-point tensor \[2, h, w, 2\]"),
        ("return left", r"gave torch.float32 \[2, 2, 2, 3\] .* since class_names has 2 names"),
        (
            "return left[..., :2].repeat(1, 2, 2, 1).permute(0, 3, 1, 2)",
            r"If its classes come second, give answer.permute",
        ),
        ("return left[:1, ..., :2]", r"gave torch.float32 \[1, 2, 2, 2\] for 2 pictures"),
        ("return left[..., : len(pixels)] / 3", r"\[1, 2, 2, 1\] for 1 pictures; expected .*\[1, h, w, 2\]"),
        ("return left[:, : len(pixels), :, :2] / 3", r"for an earlier batch it gave \[b, 2, 2, 2\]"),
        ("return 9 * left[..., :2]", 'that add up to .* if they are logits, set gives = "logits"'),
        ("raise KeyError('x')", r"failed on pixels \[2, 3, 8, 16\]: KeyError"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said_before_a_job(module: str, tmp_path: Path, answer: str, why: str) -> None:
    write(tmp_path / f"{module}.py", answer)
    with pytest.raises(AnnotateError, match=f"{module}:make.*{why}"):
        Annotator(Recipe.for_model(f"{module}:make"), k=1)


def test_a_picture_whose_map_has_nan_is_refused_and_the_others_are_labelled(module: str, tmp_path: Path) -> None:
    write(tmp_path / f"{module}.py", "return left[..., :2] / 3 / (left.mean((1, 2, 3), keepdim=True) > 0)")
    found = Annotator(Recipe.for_model(f"{module}:make"), k=1)([picture(), np.zeros((8, 16, 3), np.uint8)])
    assert found.status.tolist() == [Status.LABELLED, Status.REFUSED]


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"class_names": "'red'"}, "needs class_names, a list of texts"),
        ({"class_names": "['red', ' ']"}, "needs class_names, a list of texts that are not empty"),
        ({"class_names": "['red', 'red']"}, "has two classes of one name in class_names: red"),
        ({"input_size": "224"}, "needs input_size, height and width in pixels; found 224"),
        ({"gives": "'scores'"}, 'needs gives, "probabilities" or "logits"; found \'scores\''),
        ({"box": "(0, 0, 1, 1)"}, r"has a box that is no storage.Box: \(0, 0, 1, 1\)"),
        ({"std": "(0, 1, 1)"}, "needs three numbers as std, above 0"),
    ],
)
def test_an_attribute_that_is_missing_or_wrong_is_named(
    module: str, tmp_path: Path, attributes: dict[str, str], why: str
) -> None:
    write(tmp_path / f"{module}.py", **attributes)
    with pytest.raises(AnnotateError, match=rf"{module}:make\(\) {why}"):
        Recipe.for_model(f"{module}:make")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_module_of_anyone:make", "cannot import the module no_such_module_of_anyone .*ModuleNotFoundError"),
        ("{}:absent", "has no function absent"),
        ("{}:torch", "has no function torch"),
    ],
)
def test_a_function_that_is_not_there_is_named(module: str, name: str, why: str) -> None:
    with pytest.raises(AnnotateError, match=why):
        Recipe.for_model(name.format(module))


def test_options_for_timms_networks_have_no_place_with_a_function(module: str) -> None:
    with pytest.raises(AnnotateError, match="input_size, model_kwargs cannot be given for the function"):
        FunctionNetwork.of(f"{module}:make", input_size=(9, 9), model_kwargs={"a": 1}, checkpoint=None)


def test_names_of_timm_the_hub_and_folders_are_no_functions() -> None:
    assert is_function("a.b:c")
    names = (
        "resnet50.a1_in1k",
        "hf-hub:timm/resnet50",
        "hf_hub:x",
        "local-dir:here",
        "hf:NAME",
        "C:\\x",
        "a:b:c",
        ":f",
    )
    assert not [name for name in names if is_function(name)]


@pytest.mark.parametrize(("example", "grid", "count"), [("own_segmenter", (8, 12), 3), ("own_detector", (16, 16), 2)])
def test_the_examples_label_pictures_in_at_most_25_lines(
    example: str, grid: tuple[int, int], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (EXAMPLES / f"{example}.py").read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 25
    monkeypatch.syspath_prepend(EXAMPLES)
    torch.manual_seed(0)
    annotator: Any = Annotator(Recipe.for_model(f"{example}:make"), k=1)
    labels = annotator([np.full((50, 60, 3), 255, np.uint8)])
    assert (annotator.grid, annotator.class_count, len(labels.status)) == (grid, count, 1)
    if example == "own_detector":
        assert labels.scores[0, 8, 8, 0] == pytest.approx(0.9, abs=1e-6)
        assert labels.scores[0, 0, 0, 0] < 1e-6
