"""Do networks of Transformers label pictures as they answer there, and is what cannot be used named?"""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image

from annotate.errors import AnnotateError
from annotate.model.annotator import Annotator
from annotate.model.elsewhere.hf_network import HubNetwork
from annotate.model.elsewhere.hf_processor import input_of
from annotate.model.recipe import Recipe
from storage import open_store
from tests.annotate.model.elsewhere.resumed_job import assert_parts_give_the_same_bytes, four_pictures
from tests.annotate.model.elsewhere.tiny_networks import NAMES, SIZES, noise, saved

transformers = pytest.importorskip("transformers")


def probabilities(annotator: Annotator, picture: np.ndarray) -> np.ndarray:
    """[h, w, classes] of an annotator that keeps all classes."""
    label = annotator([picture])[0]
    dense = np.zeros(label.scores.shape)
    np.put_along_axis(dense, label.classes.astype(int), label.scores, -1)
    return dense


def own_answer(folder: Path, auto: str, picture: np.ndarray) -> Any:
    """What Transformers itself answers, with its own processor."""
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(Image.fromarray(picture), return_tensors="pt")
    network = getattr(transformers, auto).from_pretrained(folder)
    is_asked = "interpolate_pos_encoding" in inspect.signature(network.forward).parameters
    with torch.inference_mode():
        return network(pixel_values=pixels.pixel_values, **{"interpolate_pos_encoding": True} if is_asked else {})


@pytest.mark.parametrize("kind", ["vit", "deit", "dinov2", "registers", "swin", "beit", "resnet"])
def test_the_mean_over_the_locations_is_what_transformers_answers(kind: str, tmp_path: Path) -> None:
    folder, picture = saved(tmp_path / kind, kind, image_std=[0.2, 0.3, 0.25], resample=2), noise(0, (50, 70))
    recipe = replace(Recipe.for_model(f"hf:{folder}"), head="frozen")
    annotator = Annotator(recipe, k=3)
    own = own_answer(folder, "AutoModelForImageClassification", picture).logits
    found = annotator.picture_logits([picture])[0]
    torch.testing.assert_close(found - found.mean(), own - own.mean(), rtol=1e-3, atol=1e-3)
    assert annotator.consistency[0].exact
    assert annotator.grid in ((8, 16), (4, 8))  # tokens without a location are not in it
    assert recipe.class_names() == tuple(NAMES.values())


@pytest.mark.parametrize("kind", SIZES)
def test_each_quadrant_of_a_label_depends_most_on_the_same_quadrant_of_the_picture(kind: str, tmp_path: Path) -> None:
    annotator = Annotator(Recipe.for_model(f"hf:{saved(tmp_path / kind, kind)}"), k=3)
    (h, w), size = annotator.grid, SIZES[kind]
    assert h * size[1] == w * size[0]  # the grid is as wide as the input
    picture = noise(1, size)
    before = probabilities(annotator, picture)
    for down in range(2):
        for across in range(2):
            rows, columns = (
                slice(at * side // 2, (at + 1) * side // 2) for at, side in ((down, size[0]), (across, size[1]))
            )
            other = picture.copy()
            other[rows, columns] = 255 - other[rows, columns]
            change = np.abs(probabilities(annotator, other) - before).sum(-1)
            means = change.reshape(2, h // 2, 2, w // 2).mean((1, 3))
            assert np.unravel_index(means.argmax(), (2, 2)) == (down, across)


def test_a_semantic_segmenter_gives_its_own_map(tmp_path: Path) -> None:
    folder, picture = saved(tmp_path / "segformer", "segformer", resample=2), noise(2, (50, 70))
    recipe = Recipe.for_model(f"hf:{folder}")
    annotator = Annotator(recipe, k=3)
    own = own_answer(folder, "AutoModelForSemanticSegmentation", picture).logits.softmax(1)[0].permute(1, 2, 0)
    np.testing.assert_allclose(probabilities(annotator, picture), own, atol=1e-5)
    assert (annotator.grid, str(annotator.consistency[0])) == ((8, 16), "own map")
    assert annotator([picture]).boxes[0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("kind", ["eomt", "detr"])
def test_queries_are_combined_as_the_family_does_and_no_object_is_the_remainder(kind: str, tmp_path: Path) -> None:
    folder, picture = saved(tmp_path / kind, kind), noise(3, (32, 32))
    annotator = Annotator(Recipe.for_model(f"hf:{folder}"), k=3)
    own = own_answer(folder, "AutoModelForUniversalSegmentation", picture)
    queries, masks = (
        (own.logits, own.pred_masks) if kind == "detr" else (own.class_queries_logits, own.masks_queries_logits)
    )
    scores = torch.zeros(*masks.shape[2:], 3)
    for classes, mask in zip(queries[0], masks[0], strict=True):
        scores += mask.sigmoid()[..., None] * classes.softmax(-1)[:3]  # the last class is "no object"
    total = scores.sum(-1, keepdim=True)
    found = probabilities(annotator, picture)
    np.testing.assert_allclose(found, scores / total.clamp_min(1), atol=1e-5)
    assert (total > 1.05).any()
    assert (found.sum(-1) < 0.95).any()


def test_a_store_is_resumed_to_the_same_bytes_by_a_recipe_from_its_json(tmp_path: Path) -> None:
    folder = saved(tmp_path / "segformer", "segformer")
    recipe = Recipe.for_model(f"hf:{folder}")
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert str(tmp_path) not in json.dumps(recipe.to_json())
    images = four_pictures(tmp_path / "images")
    assert_parts_give_the_same_bytes(images, tmp_path, lambda: recipe)
    for name in ("whole", "parts"):
        schema = open_store(str(tmp_path / name)).schema
        assert schema.class_names == tuple(NAMES.values())
    about = schema.provenance["networks"][0]
    assert about["architecture"] == "SegformerForSemanticSegmentation"


def test_a_network_whose_files_have_changed_is_not_mixed_into_a_store(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "vit")
    recipe = Recipe.for_model(f"hf:{folder}")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b", "2": "c"}}))
    recipe.networks[0].build()  # names decide no label
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    with pytest.raises(AnnotateError, match="has changed since the job began: expected weights sha256:.* found"):
        recipe.networks[0].build()


def test_a_classifier_without_names_is_labelled_without_and_a_segmenter_is_refused(tmp_path: Path) -> None:
    assert Recipe.for_model(f"hf:{saved(tmp_path / 'vit', 'vit', names=None)}").class_names() is None
    with pytest.raises(AnnotateError, match="segmenter hf:segformer does not name its classes .* id2label"):
        Recipe.for_model(f"hf:{saved(tmp_path / 'segformer', 'segformer', names=None)}")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (
            {"do_center_crop": True, "size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
            "resizes pictures to shortest_edge 36 and crops the middle height 32, width 32.* Give --input-size 32x32",
        ),
        (
            {"size": {"shortest_edge": 32}, "do_center_crop": False},
            "keeps the aspect ratio of pictures .* Give --input-size 32x32",
        ),
        ({"do_resize": False, "do_center_crop": False}, "leaves pictures at their own size"),
    ],
)
def test_a_processor_without_one_size_is_named_and_an_input_size_is_the_way_out(
    settings: dict[str, Any], why: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "vit", "vit", image_processor_type="CLIPImageProcessor", **settings)
    with pytest.raises(AnnotateError, match=f"the processor of hf:vit {why}"):
        Recipe.for_model(f"hf:{folder}")
    annotator = Annotator(Recipe.for_model(f"hf:{folder}", input_size=(32, 48)), k=1)
    assert annotator.grid == (8, 12)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"do_flip_channel_order": True, "image_processor_type": "MobileViTImageProcessor"}, "do_flip_channel_order"),
        ({"rescale_factor": 0.5}, "rescale_factor = 0.5"),
        ({"do_rescale": False}, "rescale_factor"),
    ],
)
def test_a_processor_that_changes_pixels_in_another_way_is_refused(
    settings: dict[str, Any], why: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "vit", "vit", **settings)
    with pytest.raises(AnnotateError, match=f"changes pixels in a way that is not known here: .*{why}"):
        Recipe.for_model(f"hf:{folder}", input_size=(32, 32))


def test_the_filter_is_the_processors_bicubic_where_it_names_none_and_an_unknown_one_is_named() -> None:
    settings = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    found = [input_of(settings | {"resample": number}, "hf:vit")["interpolation"] for number in (0, 2, None)]
    assert found == ["nearest", "bilinear", "bicubic"]
    with pytest.raises(AnnotateError, match="the processor of hf:vit has resample = 9; .* --interpolation NAME"):
        input_of(settings | {"resample": 9}, "hf:vit")


def test_what_a_folder_lacks_is_named_before_the_job(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "vit")
    model, weights = f"hf:{folder}", (folder / "model.safetensors").read_bytes()
    (folder / "preprocessor_config.json").rename(folder / "away")
    with pytest.raises(AnnotateError, match="cannot read the picture processor, preprocessor_config.json of hf:vit"):
        Recipe.for_model(model)
    (folder / "away").rename(folder / "preprocessor_config.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(AnnotateError, match="hf:vit has no weights; expected model.safetensors"):
        Recipe.for_model(model)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(AnnotateError, match="has only pytorch_model.bin, a pickle, which can run code"):
        Recipe.for_model(model)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").unlink()
    with pytest.raises(AnnotateError, match=r"has no config.json, which `save_pretrained` writes"):
        Recipe.for_model(model)


def test_weights_without_a_classifier_are_refused_instead_of_filled_at_random(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "vit")
    config = transformers.AutoConfig.from_pretrained(folder)
    transformers.ViTModel(config).save_pretrained(folder)
    config.architectures = ["ViTForImageClassification"]
    config.save_pretrained(folder)
    with pytest.raises(AnnotateError, match=r"weights of hf:vit lack \d+ tensors of ViTForImageClassification"):
        Annotator(Recipe.for_model(f"hf:{folder}"), k=1)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("poolformer", "no faithful dense answer: its classifier is given neither the mean"),
        ("masked", "names ViTForMaskedImageModeling in architectures; expected a name that ends in ForImageClass"),
    ],
)
def test_a_network_without_a_dense_answer_is_refused_with_the_reason(kind: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(AnnotateError, match=f"hf:{kind} .*{why}"):
        Annotator(Recipe.for_model(f"hf:{saved(tmp_path / kind, kind)}"), k=1)


@pytest.mark.parametrize(("kind", "more"), [("OneFormer", "a text that names its task"), ("Videomt", "a video")])
def test_a_network_that_is_asked_more_than_a_picture_is_refused(kind: str, more: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    about = {"model_type": kind.lower(), "architectures": [f"{kind}ForUniversalSegmentation"], "id2label": NAMES}
    (tmp_path / "one" / "config.json").write_text(json.dumps(about))
    with pytest.raises(AnnotateError, match=f"hf:one labels no pictures alone: .*{kind.lower()} also takes {more}"):
        Recipe.for_model(f"hf:{tmp_path / 'one'}")


def test_a_name_that_cannot_be_had_without_the_internet_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(AnnotateError, match=r"cannot get nobody/nothing from the Hub.*copy the folder here.*gated"):
        Recipe.for_model("hf:nobody/nothing")


def test_without_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path / "vit", "vit")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(AnnotateError, match=r"Transformers is not installed .*pip install 'tokenlabel\[hf\]'"):
        Recipe.for_model(f"hf:{folder}")


def test_a_checkpoint_has_no_place_beside_a_folder(tmp_path: Path) -> None:
    with pytest.raises(AnnotateError, match="checkpoint cannot be given for hf:vit"):
        HubNetwork.of("hf:vit", checkpoint=tmp_path / "weights")
