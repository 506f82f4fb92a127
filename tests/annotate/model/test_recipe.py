"""Does a Recipe survive JSON, and say what is wrong with a model's name, weights or file?"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from annotate.errors import AnnotateError
from annotate.model.network import Network
from annotate.model.recipe import Recipe
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
    """Timm would silently give a random classifier."""
    with pytest.raises(AnnotateError, match="for 1000 classes; with num_classes=10 its classifier would be random"):
        Network.of("resnet18", model_kwargs={"num_classes": 10}).build()


@pytest.mark.parametrize("names", ["a, b", '"ab"', '{"a": 0}', "[1, 2]", '["a", null]', "7", "null", ""])
def test_names_in_a_checkpoint_that_are_not_a_list_are_a_clear_error(tmp_path: Path, names: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"class_names": names})
    words = "are not a JSON list of strings, but .*; write them as .*, or leave them out"
    with pytest.raises(AnnotateError, match=words):
        Network.of("test_resnet", checkpoint=tmp_path / "w.safetensors").class_names()


def test_class_names_come_with_the_checkpoint_or_from_timm(recipe: Recipe, checkpoint: Path) -> None:
    assert recipe.class_names() == tuple("0123456789")
    names = Recipe.for_model("resnet50.a1_in1k").class_names()
    assert names is not None
    assert len(names) == 1000
    assert names[0].startswith("tench")


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_file_of_weights_that_timm_names_by_a_tag_has_their_names(tmp_path: Path, suffix: str) -> None:
    """The way without a network: fetch the file of the tag elsewhere, and give it with --checkpoint."""
    path = tmp_path / f"w.{suffix}"
    if suffix == "safetensors":
        save_file({"x": torch.zeros(1)}, path, metadata={"format": "pt"})
    else:
        torch.save({"x": torch.zeros(1)}, path)

    def names(model: str, **model_kwargs: int) -> tuple[str, ...] | None:
        return Network.of(model, checkpoint=path, model_kwargs=model_kwargs).class_names()

    expected = Network.of("dm_nfnet_f6.dm_in1k").class_names()
    assert expected is not None
    assert names("dm_nfnet_f6.dm_in1k") == names("dm_nfnet_f6.dm_in1k", num_classes=1000) == expected
    assert names("dm_nfnet_f6.dm_in1k", num_classes=10) is None
    assert names("dm_nfnet_f6") is None
    assert names("convnext_tiny.dinov3_lvd1689m") is None  # a tag without a classifier


def test_names_in_a_checkpoint_go_before_those_of_the_tag(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"class_names": '["a", "b"]'})
    assert Network.of("resnet50.a1_in1k", checkpoint=tmp_path / "w.safetensors").class_names() == ("a", "b")


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
    with pytest.raises(AnnotateError, match="does not fit the model test_vit with {'num_classes': 10}"):
        Network.of("test_vit", checkpoint=checkpoint, model_kwargs={"num_classes": 10}).build()
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(AnnotateError, match="cannot use the checkpoint .*it is no pickle of tensors"):
        Network.of("test_resnet", checkpoint=tmp_path / "text.pth")


def test_the_error_of_a_wrong_checkpoint_is_short(tmp_path: Path) -> None:
    """Torch's own names every weight that is missing: 8,000 characters here."""
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(AnnotateError, match="does not fit the model resnet50 with no further arguments ") as caught:
        Network.of("resnet50", checkpoint=tmp_path / "w.safetensors").build()
    assert "Missing key(s) in state_dict" in str(caught.value)
    assert len(str(caught.value)) < 550 + len(str(tmp_path))
    assert str(caught.value).endswith(" …")


def test_provenance_has_what_timm_says_of_the_architecture_also_with_a_checkpoint(
    recipe: Recipe, checkpoint: Path
) -> None:
    network = recipe.networks[0]
    found = network.provenance(network.build())
    assert (network.model, found["full_name"]) == ("test_resnet", "test_resnet.r160_in1k")
    assert found["checkpoint"] == checkpoint.name
    assert found["pretrained_cfg"]["input_size"] == [3, 160, 160]
    assert found["pretrained_cfg"]["hf_hub_id"] == "timm/test_resnet.r160_in1k"
    assert "hub" not in found
    assert json.loads(json.dumps(found)) == found


def test_a_tag_that_was_given_is_part_of_the_full_name(tmp_path: Path) -> None:
    model = timm.create_model("resnet18.a3_in1k")
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    network = Network.of("resnet18.a3_in1k", checkpoint=tmp_path / "w.safetensors")
    found = network.provenance(network.build())
    assert (found["full_name"], found["pretrained_cfg"]["tag"]) == ("resnet18.a3_in1k", "a3_in1k")


def test_a_checkpoint_that_changed_after_the_start_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "weights.safetensors"
    copy.write_bytes(checkpoint.read_bytes())
    network = Network.of("test_resnet", checkpoint=copy, model_kwargs=MODEL_KWARGS)
    copy.write_bytes(checkpoint.read_bytes() + b"\0")
    with pytest.raises(AnnotateError, match="has changed since the job began"):
        network.build()
