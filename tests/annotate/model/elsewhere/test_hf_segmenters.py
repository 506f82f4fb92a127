"""Does a segmenter that has learned colours label each quadrant of a picture by the colour that is there?

Its map must also have the shape of its input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from annotate.errors import AnnotateError
from annotate.model.annotator import Annotator
from annotate.model.elsewhere.hf_segmenter import HubSegmenter
from annotate.model.recipe import Recipe
from tests.annotate.model.elsewhere.test_hf_network import probabilities
from tests.annotate.model.elsewhere.tiny_networks import SIZES, saved

transformers = pytest.importorskip("transformers")

RED, GREEN, BLUE = range(3)  # also the numbers of the classes


def quadrants(colours: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture [H, W, 3] whose quadrants have these colours [2, 2]."""
    return (np.eye(3)[colours] * 255).astype(np.uint8).repeat(size[0] // 2, 0).repeat(size[1] // 2, 1)


def loss(answer: Any, colours: np.ndarray) -> torch.Tensor:
    """How far a segmenter of Transformers is from the classes of its pictures' colours.

    The query of a number is to have the class of that number, and its mask is to be where that colour is.
    """
    is_semantic = hasattr(answer, "logits")
    h, w = (answer.logits if is_semantic else answer.masks_queries_logits).shape[2:]
    wanted = torch.from_numpy(colours).repeat_interleave(h // 2, 1).repeat_interleave(w // 2, 2)
    if is_semantic:
        return functional.cross_entropy(answer.logits, wanted)
    queries, masks = answer.class_queries_logits, answer.masks_queries_logits
    places = torch.stack([wanted == number for number in range(masks.shape[1])], 1)
    classes = torch.arange(queries.shape[1]).expand(len(queries), -1)
    of_masks = functional.binary_cross_entropy_with_logits(masks, places.float())
    return functional.cross_entropy(queries.mT, classes) + of_masks


def teach(folder: Path, auto: str, size: tuple[int, int]) -> None:
    """Train a network on random quadrants, and save it again. Nothing of ours is asked but its normalisation."""
    network = getattr(transformers, auto).from_pretrained(folder).eval()
    about = Recipe.for_model(f"hf:{folder}").networks[0]
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (about.mean, about.std))
    rng, optimizer = np.random.default_rng(0), torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        colours = rng.integers(0, 3, (12, 2, 2))
        pictures = torch.from_numpy(np.stack([quadrants(each, size) for each in colours]))
        optimizer.zero_grad()
        loss(network(pixel_values=(pictures.permute(0, 3, 1, 2) / 255 - mean) / std), colours).backward()
        optimizer.step()
    network.save_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "auto"),
    [("segformer", "AutoModelForSemanticSegmentation"), ("eomt", "AutoModelForUniversalSegmentation")],
)
def test_each_quadrant_has_the_class_of_its_own_colour(kind: str, auto: str, tmp_path: Path) -> None:
    folder, size = saved(tmp_path / kind, kind), SIZES[kind]
    teach(folder, auto, size)
    annotator = Annotator(Recipe.for_model(f"hf:{folder}"), k=3)
    h, w = annotator.grid
    for colours in ([[RED, GREEN], [BLUE, GREEN]], [[BLUE, BLUE], [RED, GREEN]]):
        found = probabilities(annotator, quadrants(np.array(colours), size))
        means = found.reshape(2, h // 2, 2, w // 2, 3).mean((1, 3))
        assert means.argmax(-1).tolist() == colours
        assert means.max(-1).min() > 0.5


def test_a_map_of_another_shape_than_its_input_is_refused(tmp_path: Path) -> None:
    """EoMT's config says 32x32, which has as many patches as 16x64: it would answer for 8x8 of them."""
    folder = saved(tmp_path / "eomt", "eomt")
    why = "its map has 16x16 locations, another shape than its input. Leave --input-size out, or give the size that"
    with pytest.raises(AnnotateError, match=f"hf:eomt failed on pixels .2, 3, 16, 64.: ValueError: {why}"):
        Annotator(Recipe.for_model(f"hf:{folder}", input_size=(16, 64)), k=1)
    assert Annotator(Recipe.for_model(f"hf:{folder}", input_size=(32, 32)), k=1).grid == (16, 16)


def test_a_size_that_a_segmenter_cannot_take_is_named_with_what_to_give(tmp_path: Path) -> None:
    """EoMT adds the positions of its 8x8 patches."""
    folder = saved(tmp_path / "eomt", "eomt")
    why = "it does not answer on a 24x40 input: .*Leave --input-size out, or give the size that its config.json names"
    with pytest.raises(AnnotateError, match=f"hf:eomt failed on pixels .2, 3, 24, 40.: ValueError: {why}"):
        Annotator(Recipe.for_model(f"hf:{folder}", input_size=(24, 40)), k=1)


def test_too_little_memory_is_not_taken_for_a_wrong_size() -> None:
    def full(**_: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        HubSegmenter(full, ["cat"], is_universal=True)(torch.zeros(1, 3, 8, 8))
