"""Do several passes become one label, each resampled by its own geometry? And does the recipe alone decide it?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from annotate.errors import AnnotateError
from annotate.model.annotator import Annotator
from annotate.model.augmented_views import onto_grid, scaled_size
from annotate.model.network import Network, state_hash
from annotate.model.recipe import Recipe
from benchmarks.annotate.families import randomise
from storage import Box
from storage.encoding import scores
from tests.conftest import MODEL_KWARGS


@pytest.fixture(scope="module")
def pictures(scene_folder: Path) -> list[np.ndarray]:
    paths = sorted((scene_folder / "images/val").rglob("*.jpg"))
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network's weights, for the same classes."""
    return weights(tmp_path_factory.mktemp("other") / "other.safetensors", seed=1)


def weights(path: Path, *, seed: int, names: str = "0123456789", **kwargs: int) -> Path:
    torch.manual_seed(seed)  # of the convolutions, which `randomise` leaves as they are
    model = randomise(timm.create_model("test_resnet", **(MODEL_KWARGS | kwargs)), seed)
    metadata = {"class_names": json.dumps(list(names))}
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path, metadata=metadata)
    return path


def network(checkpoint: Path, **kwargs: int) -> Network:
    arguments = MODEL_KWARGS | kwargs
    return Network.of("test_resnet", checkpoint=checkpoint, input_size=(64, 64), model_kwargs=arguments)


def probabilities(recipe: Recipe, pictures: list[np.ndarray]) -> np.ndarray:
    """Of all classes, in their order: float32 [n, h, w, classes]."""
    labels = Annotator(recipe, k=10)(pictures)
    found = np.zeros(labels.scores.shape, np.float32)
    np.put_along_axis(found, labels.classes.astype(np.int64), labels.scores, -1)
    return found


def test_with_flip_the_label_of_a_mirrored_picture_is_the_mirrored_label(
    pictures: list[np.ndarray], tmp_path: Path
) -> None:
    """Of a network whose grid has its middle in the middle of the input."""
    model = randomise(timm.create_model("test_convnext", num_classes=10))
    save_file(model.state_dict(), tmp_path / "convnext.safetensors")
    recipe = Recipe.for_model(
        "test_convnext",
        checkpoint=tmp_path / "convnext.safetensors",
        input_size=(64, 64),
        model_kwargs={"num_classes": 10},
    )
    mirrored = [picture[:, ::-1].copy() for picture in pictures[:4]]
    apart = [
        np.abs(probabilities(each, mirrored) - probabilities(each, pictures[:4])[:, :, ::-1]).max()
        for each in (replace(recipe, flip=True), recipe)
    ]
    assert apart[0] < 1e-5
    assert apart[1] > 100 * apart[0], "one pass alone does the same, so that this test shows nothing"


def test_an_ensemble_is_the_mean_of_its_networks(
    recipe: Recipe, checkpoint: Path, other: Path, pictures: list[np.ndarray]
) -> None:
    alone = [probabilities(Recipe(networks=(network(path),)), pictures[:3]) for path in (checkpoint, other)]
    together = Recipe(networks=(network(checkpoint), network(other)))
    assert np.allclose(probabilities(together, pictures[:3]), np.mean(alone, 0), atol=1e-6)
    assert not np.allclose(*alone, atol=1e-3)


def test_networks_of_other_classes_are_not_averaged(checkpoint: Path, tmp_path: Path) -> None:
    fewer = weights(tmp_path / "fewer.safetensors", seed=1, names="01234", num_classes=5)
    with pytest.raises(AnnotateError, match="cannot be averaged: they have 10 and 5 classes"):
        Annotator(Recipe(networks=(network(checkpoint), network(fewer, num_classes=5))), k=3)
    named = weights(tmp_path / "named.safetensors", seed=1, names="0123456798")
    with pytest.raises(AnnotateError, match="their classes are named differently .'8' and '9'"):
        Recipe(networks=(network(checkpoint), network(named))).class_names()


def test_a_pass_is_resampled_at_the_centres_of_the_labels_locations() -> None:
    """A field that is linear over the picture stays linear, for any grids and boxes."""
    boxes = [Box(0, 0, 1, 1), Box(-0.25, 0, 1.25, 1), Box(0, 0.2, 1, 0.8)]
    labels = [Box(0.3, 0.3, 0.7, 0.7), Box(0.1, 0.2, 0.9, 0.6), Box(0.2, 0.3, 0.8, 0.6)]

    def field(box: Box, h: int, w: int) -> torch.Tensor:
        y = box.top + (torch.arange(h) + 0.5) / h * box.height
        x = box.left + (torch.arange(w) + 0.5) / w * box.width
        return torch.stack([y[:, None].expand(h, w), x[None].expand(h, w)], -1)

    found = onto_grid(torch.stack([field(box, 24, 30) for box in boxes]), boxes, (5, 4), labels)
    expected = torch.stack([field(box, 5, 4) for box in labels])
    assert torch.allclose(found, expected, atol=1e-5)
    same = torch.rand(1, 3, 4, 2)
    assert onto_grid(same, [Box.whole()], (3, 4), [Box.whole()]) is same


@pytest.mark.parametrize("mode", ["squash", "letterbox", "center"])
def test_other_scales_find_the_same_things_at_the_same_places(mode: str, checkpoint: Path) -> None:
    """A bright corner on black: at each scale alone, what differs from the dark answer lies in that corner."""
    dark, bright = np.zeros((60, 120, 3), np.uint8), np.zeros((60, 120, 3), np.uint8)
    bright[:20, 30:50] = 255
    recipe = Recipe(networks=(network(checkpoint),), preprocess=mode)
    places = []
    for scales in ((1.0,), (1.0, 1.5), (1.0, 0.5), (1.0, 2.0, 0.5)):
        both = probabilities(replace(recipe, scales=scales), [dark, bright])
        change = np.abs(both[1] - both[0]).sum(-1)
        y, x = np.indices(change.shape)
        places.append(((y * change).sum() / change.sum(), (x * change).sum() / change.sum()))
    assert np.abs(np.array(places) - places[0]).max() < 0.75, places


def test_a_scale_is_a_whole_number_of_locations() -> None:
    assert scaled_size((576, 576), (32, 32), 0.8) == (448, 448)
    assert scaled_size((64, 96), (8, 8), 1.2) == (80, 112)
    assert scaled_size((100, 100), (8, 8), 1.0) == (100, 100)
    assert scaled_size((64, 64), (32, 32), 0.1) == (32, 32)


def test_scales_that_become_one_are_refused(recipe: Recipe) -> None:
    with pytest.raises(AnnotateError, match="has the same input as at another scale, .64, 64."):
        Annotator(replace(recipe, scales=(1.0, 1.01)), k=5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scales": (0.5,)}, "one of them 1.0"),
        ({"scales": (1.0, 1.0)}, "different numbers"),
        ({"scales": (1.0, -1.0)}, "from 0.1 to 10"),
        ({"temperature": 0.0}, "temperature must be from"),
        ({"temperature": float("nan")}, "temperature must be from"),
        ({"head": "dense"}, "head must be one of local, frozen, not 'dense'"),
        ({"networks": ()}, "at least one network"),
    ],
)
def test_a_recipe_out_of_range_is_refused(recipe: Recipe, change: dict[str, object], words: str) -> None:
    with pytest.raises(AnnotateError, match=words):
        replace(recipe, **change)


def test_the_temperature_divides_the_logits(recipe: Recipe, pictures: list[np.ndarray]) -> None:
    once, twice = (probabilities(replace(recipe, temperature=t), pictures[:2]) for t in (1.0, 2.0))
    softer = np.sqrt(once.astype(np.float64))
    assert np.allclose(twice, softer / softer.sum(-1, keepdims=True), atol=1e-5)


def test_the_batch_size_hardly_moves_a_code(recipe: Recipe, pictures: list[np.ndarray]) -> None:
    """By one step, in at most one location of ten thousand."""
    annotator = Annotator(recipe, k=5)
    together = annotator(pictures)
    for size in (1, 7):
        parts = [annotator(pictures[start : start + size]) for start in range(0, len(pictures), size)]
        mine, theirs = (
            scores.encode(values) for values in (np.concatenate([p.scores for p in parts]), together.scores)
        )
        moved = np.abs(mine.astype(int) - theirs)
        assert moved.max() <= 1
        assert (moved > 0).mean() <= 1e-4
        assert (np.concatenate([p.classes for p in parts]) != together.classes).mean() <= 1e-4


def test_a_compiled_network_answers_the_same_on_whole_and_short_batches(
    recipe: Recipe, pictures: list[np.ndarray]
) -> None:
    plain, compiled = Annotator(recipe, k=5), Annotator(recipe, k=5, compile_for=4)
    for batch in (pictures[:4], pictures[4:7]):
        mine, theirs = compiled(batch), plain(batch)
        assert np.abs(mine.scores - theirs.scores).max() < 1e-4
        assert (mine.classes != theirs.classes).mean() < 0.01


def test_bfloat16_is_near_float32(recipe: Recipe, pictures: list[np.ndarray]) -> None:
    mine, theirs = (probabilities(replace(recipe, precision=p), pictures[:4]) for p in ("bfloat16", "float32"))
    assert 1e-4 < np.abs(mine - theirs).max() < 0.2


def test_where_the_weights_come_from_is_recorded(recipe: Recipe, checkpoint: Path, other: Path) -> None:
    annotator = Annotator(recipe, k=5)
    (found,) = annotator.provenance
    assert found["checkpoint"] == checkpoint.name
    assert found["head"] == "exact"
    assert found["state"] == state_hash(recipe.networks[0].build())
    assert found["state"] != state_hash(network(other).build())
