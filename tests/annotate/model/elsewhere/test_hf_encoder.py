"""Does an encoder label locations with a vocabulary as it answers itself, and leave the background out?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from annotate.errors import AnnotateError
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.annotator import Annotator
from annotate.model.dense import DenseClassifier
from annotate.model.elsewhere.dense_answer import dense_answer
from annotate.model.elsewhere.vocabulary import Vocabulary
from annotate.model.recipe import Recipe
from storage import MismatchError, open_store
from tests.annotate.model.elsewhere.resumed_job import assert_parts_give_the_same_bytes, four_pictures
from tests.annotate.model.elsewhere.test_hf_network import probabilities
from tests.annotate.model.elsewhere.tiny_encoders import WORDS, save_tokenizer, saved_encoder
from tests.annotate.model.elsewhere.tiny_networks import noise, saved

transformers = pytest.importorskip("transformers")

NAMES = Vocabulary(
    names=("cat", "dog", "tree"),
    prompts=(("cat",), ("dog", "couch"), ("tree",)),
    background=("sky", "wall"),
    templates=("a photo of a {}", "{}"),
)
RULES = {"clip": "class token", "metaclip": "class token", "siglip": "query"}


def asked(folder: Path, picture: np.ndarray, texts: list[str]) -> Any:
    """What the encoder answers to a picture and texts, as its documentation says."""
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        texts, padding="max_length", max_length=8, return_tensors="pt"
    )
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(Image.fromarray(picture), return_tensors="pt")
    network = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return network(pixel_values=pixels.pixel_values, interpolate_pos_encoding=True, **tokens)


@pytest.mark.parametrize("kind", RULES)
def test_the_mean_over_the_locations_is_what_the_encoder_says_of_picture_and_texts(kind: str, tmp_path: Path) -> None:
    folder, picture = saved_encoder(tmp_path / kind, kind), noise(0, (32, 64))
    plain = Vocabulary(names=("cat", "dog", "tree"), prompts=(("cat",), ("dog",), ("tree",)), background=("sky",))
    recipe = replace(Recipe.for_model(f"hf:{folder}", vocabulary=plain), head="frozen")
    annotator = Annotator(recipe, k=3)
    own = asked(folder, picture, ["cat", "dog", "tree", "sky"]).logits_per_image
    found = annotator.picture_logits([picture])[0]
    torch.testing.assert_close(found, own[:, :3], rtol=1e-3, atol=2e-3)
    assert float(own.std()) > 0.1
    assert str(annotator.consistency[0]) == f"exact by {RULES[kind]}"
    assert (annotator.grid, annotator.class_count) == ((8, 16), 3)


@pytest.mark.parametrize("kind", RULES)
def test_each_location_is_asked_alone_by_cosines_of_its_value(kind: str, tmp_path: Path) -> None:
    """`local` is a cosine at each location: logits within the scale."""
    recipe = Recipe.for_model(f"hf:{saved_encoder(tmp_path / kind, kind)}", vocabulary=NAMES)
    dense, about = dense_answer(recipe.networks[0], "local")
    with torch.inference_mode():
        logits = dense(torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 8, 16, 5)
    cosines = (logits - about["bias"]) / about["scale"]
    assert cosines.abs().max() <= 1 + 1e-5
    assert cosines.std((1, 2)).min() > 0.02


@pytest.mark.parametrize("kind", RULES)
def test_in_float64_frozen_averages_to_the_encoders_own_answer_and_local_is_its_value_path(
    kind: str, tmp_path: Path
) -> None:
    network = Recipe.for_model(f"hf:{saved_encoder(tmp_path / kind, kind)}", vocabulary=NAMES).networks[0].build()
    network = network.double()
    model, linear = network.model, network.classifier[1]
    pixels = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def answer(embedding: torch.Tensor) -> torch.Tensor:
        cosines = torch.nn.functional.normalize(embedding, dim=-1) @ linear.weight.T
        return cosines * embedding.shape[-1] ** 0.5 + linear.bias

    with torch.inference_mode():
        own = answer(model.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output)
        local, frozen = (DenseClassifier(network, kind, head)(pixels) for head in ("local", "frozen"))
        torch.testing.assert_close(frozen.mean((1, 2)), own, rtol=1e-10, atol=1e-10)
        expected = [answer(each) for each in alone(model, pixels)]
    torch.testing.assert_close(local.flatten(1, 2), torch.stack(expected, 1), rtol=1e-10, atol=1e-10)
    assert (local.mean((1, 2)) - own).norm() > 0.01 * own.norm()  # otherwise the two heads are not told apart


def alone(model: Any, pixels: torch.Tensor) -> list[torch.Tensor]:
    """The embeddings of pictures that the encoder makes of each location alone, by its own last layers."""
    tower = model.vision_model
    if hasattr(tower, "head"):
        tokens = tower(pixels, interpolate_pos_encoding=True).last_hidden_state
        return [tower.head(tokens[:, n : n + 1]) for n in range(tokens.shape[1])]
    tokens = tower.pre_layrnorm(tower.embeddings(pixels, interpolate_pos_encoding=True))
    for layer in tower.encoder.layers[:-1]:
        tokens = layer(tokens, attention_mask=None)
    found, count = [], tokens.shape[1]
    for n in range(1, count):
        mask = torch.zeros(1, 1, count, count, dtype=torch.float64)
        mask[..., 0, :] = float("-inf")
        mask[..., 0, n] = 0  # the class token looks at this one
        after = tower.encoder.layers[-1](tokens, attention_mask=mask)[:, 0]
        found.append(model.visual_projection(tower.post_layernorm(after)))
    return found


@pytest.mark.parametrize("head", ["local", "frozen"])
@pytest.mark.parametrize("kind", RULES)
def test_logits_of_a_large_scale_are_not_rounded_to_bfloat16(kind: str, head: str, tmp_path: Path) -> None:
    recipe = replace(Recipe.for_model(f"hf:{saved_encoder(tmp_path / kind, kind)}", vocabulary=NAMES), head=head)
    (logits,) = Annotator(replace(recipe, precision="bfloat16"), k=3).location_logits([noise(0, (32, 64))])
    assert (logits != logits.bfloat16().float()).float().mean() > 0.9


def test_a_mirrored_pass_is_the_label_of_the_mirrored_picture_mirrored_back(tmp_path: Path) -> None:
    recipe = Recipe.for_model(f"hf:{saved_encoder(tmp_path / 'clip')}", vocabulary=NAMES)
    annotator, picture = Annotator(recipe, k=3), noise(4, (32, 64))
    both = probabilities(Annotator(replace(recipe, flip=True), k=3), picture)
    one, other = probabilities(annotator, picture), probabilities(annotator, picture[:, ::-1].copy())[:, ::-1]
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-5)
    assert np.abs(one - other).max() > 0.01


def test_a_name_with_several_texts_has_their_mean(tmp_path: Path) -> None:
    folder, picture = saved_encoder(tmp_path / "siglip", "siglip"), noise(1, (32, 64))
    annotator = Annotator(replace(Recipe.for_model(f"hf:{folder}", vocabulary=NAMES), head="frozen"), k=3)
    own = asked(folder, picture, ["a photo of a dog", "dog", "a photo of a couch", "couch"])
    text = torch.nn.functional.normalize(own.text_embeds.mean(0), dim=0)
    expected = float(own.image_embeds[0] @ text) * np.exp(2.0) - 3.0
    assert float(annotator.picture_logits([picture])[0, 0, 1]) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 1.5)])
@pytest.mark.parametrize("kind", RULES)
def test_each_quadrant_of_a_label_depends_most_on_the_same_quadrant_of_the_picture(
    kind: str, scales: tuple[float, ...], tmp_path: Path
) -> None:
    recipe = Recipe.for_model(f"hf:{saved_encoder(tmp_path / kind, kind)}", vocabulary=NAMES)
    annotator = Annotator(replace(recipe, scales=scales), k=3)
    (h, w), picture = annotator.grid, noise(1, (32, 64))
    before = probabilities(annotator, picture)
    for down in range(2):
        for across in range(2):
            rows, columns = slice(16 * down, 16 * down + 16), slice(32 * across, 32 * across + 32)
            other = picture.copy()
            other[rows, columns] = 255 - other[rows, columns]
            change = np.abs(probabilities(annotator, other) - before).sum(-1)
            means = change.reshape(2, h // 2, 2, w // 2).mean((1, 3))
            assert np.unravel_index(means.argmax(), (2, 2)) == (down, across)


def test_what_the_background_takes_is_the_remainder(tmp_path: Path) -> None:
    model, picture = f"hf:{saved_encoder(tmp_path / 'clip')}", noise(2, (32, 64))
    recipe = replace(Recipe.for_model(model, vocabulary=NAMES), temperature=2.0)
    dense = dense_answer(recipe.networks[0], "local")[0]
    network = recipe.networks[0]
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (network.mean, network.std))
    pixels = (torch.from_numpy(picture).permute(2, 0, 1) / 255 - mean) / std
    with torch.inference_mode():
        expected = (dense(pixels[None])[0] / 2).softmax(-1)
    found = probabilities(Annotator(recipe, k=3), picture)
    np.testing.assert_allclose(found, expected[..., :3], atol=1e-5)
    rest = 1 - found.sum(-1)
    np.testing.assert_allclose(rest, expected[..., 3:].sum(-1), atol=1e-5)
    assert rest.min() > 1e-4
    assert rest.max() > 0.2


def test_a_threshold_is_a_background_of_that_cosine_and_siglips_own_is_its_sigmoid(tmp_path: Path) -> None:
    picture, clip = noise(3, (32, 64)), f"hf:{saved_encoder(tmp_path / 'clip')}"
    shares = []
    for threshold in (-1.0, 0.0, 1.0):
        words = Vocabulary(names=("cat",), prompts=(("cat",),), threshold=threshold)
        recipe = Recipe.for_model(clip, vocabulary=words)
        dense, about = dense_answer(recipe.networks[0], "local")
        with torch.inference_mode():
            background = dense(torch.randn(1, 3, 32, 64))[..., 1]
        torch.testing.assert_close(background, torch.full((1, 8, 16), threshold * about["scale"]))
        shares.append(probabilities(Annotator(recipe, k=1), picture).mean())
    assert shares[0] > 0.9
    assert shares[0] > shares[1] > shares[2]
    folder = saved_encoder(tmp_path / "siglip", "siglip")
    words = Vocabulary(names=("cat",), prompts=(("cat",),), background=("sky",), threshold=0.25)
    dense, about = dense_answer(Recipe.for_model(f"hf:{folder}", vocabulary=words).networks[0], "local")
    with torch.inference_mode():
        background = dense(torch.randn(1, 3, 32, 64))[..., 2]
    torch.testing.assert_close(background, torch.full((1, 8, 16), 0.25 * about["scale"] + about["bias"]))
    assert about["bias"] == pytest.approx(-3)
    words = Vocabulary(names=("cat",), prompts=(("cat",),), threshold="own")
    dense, _ = dense_answer(Recipe.for_model(f"hf:{folder}", vocabulary=words).networks[0], "local")
    pixels = torch.randn(1, 3, 32, 64)
    with torch.inference_mode():
        logits = dense(pixels)
    torch.testing.assert_close(logits.softmax(-1)[..., 0], logits[..., 0].sigmoid())
    with pytest.raises(AnnotateError, match="the encoder hf:clip has no threshold of its own"):
        Annotator(Recipe.for_model(clip, vocabulary=words), k=1)


def test_a_store_is_resumed_to_the_same_bytes_and_has_names_and_the_hash_of_the_texts(tmp_path: Path) -> None:
    folder = saved_encoder(tmp_path / "clip")
    recipe = Recipe.for_model(f"hf:{folder}", vocabulary=NAMES)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.class_names() == ("cat", "dog", "tree")
    assert str(tmp_path) not in json.dumps(recipe.to_json())
    assert recipe.to_json()["networks"][0]["model_kwargs"]["texts"].startswith("sha256:")
    images = four_pictures(tmp_path / "images")
    assert_parts_give_the_same_bytes(images, tmp_path, lambda: Recipe.for_model(f"hf:{folder}", vocabulary=NAMES))
    schema = open_store(str(tmp_path / "whole")).schema
    assert schema.class_names == ("cat", "dog", "tree")
    assert Recipe.from_json(schema.recipe) == recipe
    other = replace(NAMES, templates=("{}",))
    with pytest.raises(MismatchError, match="recipe"):
        run(images, str(tmp_path / "whole"), Recipe.for_model(f"hf:{folder}", vocabulary=other), LocalWorkers(), k=2)


def test_a_recipe_from_json_makes_the_same_texts_and_refuses_others(tmp_path: Path) -> None:
    folder, monkey = saved_encoder(tmp_path / "clip"), noise(5, (32, 64))
    recipe = Recipe.for_model(f"hf:{folder}", vocabulary=NAMES)
    network = replace(recipe.networks[0], texts=None)
    expected = Annotator(recipe, k=3)([monkey])
    found = Annotator(replace(recipe, networks=(network,)), k=3)([monkey])
    np.testing.assert_array_equal(found.scores, expected.scores)
    save_tokenizer(folder, [*WORDS[:6], *reversed(WORDS[6:])])
    with pytest.raises(AnnotateError, match="texts of the vocabulary have other embeddings by hf:clip .* expected sha"):
        network.build()


def test_an_encoder_and_a_vocabulary_need_each_other(tmp_path: Path) -> None:
    with pytest.raises(AnnotateError, match="hf:clip is an encoder of pictures and text.*--vocabulary names.txt"):
        Recipe.for_model(f"hf:{saved_encoder(tmp_path / 'clip')}")
    with pytest.raises(AnnotateError, match="with hf:vit: ViTForImageClassification, .* has no text tower"):
        Recipe.for_model(f"hf:{saved(tmp_path / 'vit', 'vit')}", vocabulary=NAMES)
    with pytest.raises(AnnotateError, match="resnet18 has classes of its own, and no vocabulary can be given for it"):
        Recipe.for_model("resnet18", vocabulary=NAMES)
    config = json.loads((tmp_path / "clip" / "config.json").read_text())
    (tmp_path / "clip" / "config.json").write_text(json.dumps(config | {"architectures": ["CLIPVisionModel"]}))
    with pytest.raises(AnnotateError, match="with hf:clip: CLIPVisionModel, .* has no text tower"):
        Recipe.for_model(f"hf:{tmp_path / 'clip'}", vocabulary=NAMES)


def test_what_an_encoder_lacks_and_a_text_that_is_too_long_are_named_before_the_job(tmp_path: Path) -> None:
    folder = saved_encoder(tmp_path / "clip")
    with pytest.raises(
        AnnotateError, match="the text 'a photo of a cat cat cat cat' .* too long for hf:clip: .* 9 tok"
    ):
        Recipe.for_model(f"hf:{folder}", vocabulary=replace(NAMES, templates=("a photo of a {} cat cat cat",)))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(
        AnnotateError, match="hf:clip has no tokenizer for the texts of the vocabulary: none of tokenizer.json"
    ):
        Recipe.for_model(f"hf:{folder}", vocabulary=NAMES)


def test_recipes_without_a_vocabulary_are_as_before(tmp_path: Path) -> None:
    about = Recipe.for_model(f"hf:{saved(tmp_path / 'vit', 'vit')}").to_json()["networks"][0]
    assert list(about["model_kwargs"]) == ["config"]
    assert sorted(about) == ["input_size", "interpolation", "mean", "model", "model_kwargs", "std", "weights"]
