"""Does a Recipe survive JSON, and say what is wrong with a model's name, weights or file?"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from annotate.errors import AnnotateError
from annotate.network import Network
from annotate.recipe import Recipe
from tests.conftest import MODEL_KWARGS


def test_json_gives_an_equal_recipe_back(recipe: Recipe) -> None:
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_the_input_is_the_networks_own_unless_said() -> None:
    network = Network.of("dm_nfnet_f6.dm_in1k")
    assert network.input_size == (576, 576)
    assert network.interpolation == "bicubic"
    assert network.weights == "pretrained"


def test_no_path_of_this_machine_is_in_the_recipe(recipe: Recipe, checkpoint: Path) -> None:
    assert recipe.networks[0].weights == "sha256:" + hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert str(checkpoint.parent) not in json.dumps(recipe.to_json())


def test_a_file_is_known_by_what_is_in_it(recipe: Recipe, checkpoint: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "another name.safetensors"
    renamed.write_bytes(checkpoint.read_bytes())
    again = Recipe.for_model("test_resnet", checkpoint=renamed, input_size=(64, 64), model_kwargs=MODEL_KWARGS)
    assert again == recipe


def test_pretrained_weights_with_another_number_of_classes_are_refused() -> None:
    """Timm would give a random classifier in silence."""
    with pytest.raises(AnnotateError, match="for 1000 classes; with num_classes=10 its classifier would be random"):
        Network.of("resnet18", model_kwargs={"num_classes": 10}).build()


def test_names_in_a_checkpoint_that_are_no_list_are_a_clear_error(recipe: Recipe, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"class_names": "a, b"})
    with pytest.raises(AnnotateError, match="are no JSON list"):
        Network.of("test_resnet", checkpoint=tmp_path / "w.safetensors").class_names()


def test_class_names_come_with_the_checkpoint_or_from_timm(recipe: Recipe, checkpoint: Path) -> None:
    assert recipe.class_names() == tuple("0123456789")
    names = Recipe.for_model("resnet50.a1_in1k").class_names()
    assert names is not None
    assert len(names) == 1000
    assert names[0].startswith("tench")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet5O", "timm has no model 'resnet5O'; did you mean .*resnet50"),
        ("zzzzzz", "timm has no model 'zzzzzz'"),
        ("resnet50.no_such_tag", "timm has no weights 'no_such_tag' for resnet50; it has a1_in1k"),
    ],
)
def test_an_unknown_model_suggests_near_ones(name: str, words: str) -> None:
    with pytest.raises(AnnotateError, match=words):
        Recipe.for_model(name)


def test_a_checkpoint_that_does_not_fit_or_is_none_is_a_clear_error(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotateError, match="cannot read the checkpoint"):
        Recipe.for_model("test_resnet", checkpoint=tmp_path / "nothing.safetensors")
    with pytest.raises(AnnotateError, match="does not fit the model test_resnet with no further arguments"):
        Network.of("test_resnet", checkpoint=checkpoint).build()
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(AnnotateError, match="does not fit the model"):
        Network.of("test_resnet", checkpoint=tmp_path / "text.pth").build()


def test_a_checkpoint_that_changed_after_the_start_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "weights.safetensors"
    copy.write_bytes(checkpoint.read_bytes())
    network = Network.of("test_resnet", checkpoint=copy, model_kwargs=MODEL_KWARGS)
    copy.write_bytes(checkpoint.read_bytes() + b"\0")
    with pytest.raises(AnnotateError, match="has changed since the job began"):
        network.build()
