"""Does a segmenter that has learned colours label each quadrant of a picture by the colour that is there?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from tests.annotate.model.elsewhere.test_hf_network import probabilities
from tests.annotate.model.elsewhere.tiny_networks import SIZES, saved

transformers = pytest.importorskip("transformers")

AUTO = {"segformer": "AutoModelForSemanticSegmentation", "eomt": "AutoModelForUniversalSegmentation"}
STEPS = {"segformer": 120, "eomt": 500}
RED, GREEN, BLUE = range(3)  # also the numbers of the classes


def quadrants(colours: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture [H, W, 3] whose quadrants have these colours [2, 2]."""
    return (np.eye(3)[colours] * 255).astype(np.uint8).repeat(size[0] // 2, 0).repeat(size[1] // 2, 1)


def own_map(answer: Any) -> torch.Tensor:
    """The probabilities [b, classes, h, w] of an answer of Transformers, by the words of its documentation."""
    if "logits" in answer and answer.logits is not None:
        return answer.logits.softmax(1)
    classes, masks = answer.class_queries_logits.softmax(-1)[..., :-1], answer.masks_queries_logits.sigmoid()
    return torch.einsum("bqc,bqhw->bchw", classes, masks)


def teach(folder: Path, kind: str) -> None:
    """Train a network on random quadrants, and save it again. Nothing of ours is asked."""
    network = getattr(transformers, AUTO[kind]).from_pretrained(folder).eval()
    about = Recipe.for_model(f"hf:{folder}").networks[0]
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (about.mean, about.std))
    rng, optimizer = np.random.default_rng(0), torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(STEPS[kind]):
        colours = rng.integers(0, 3, (12, 2, 2))
        pictures = torch.from_numpy(np.stack([quadrants(each, SIZES[kind]) for each in colours]))
        found = own_map(network(pixel_values=(pictures.permute(0, 3, 1, 2) / 255 - mean) / std))
        (h, w), wanted = found.shape[2:], torch.from_numpy(colours)
        wanted = wanted.repeat_interleave(h // 2, 1).repeat_interleave(w // 2, 2)
        own = found.gather(1, wanted[:, None]) / found.sum(1, keepdim=True).clamp_min(1)
        loss = -(own + 1e-4).log().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.save_pretrained(folder)


@pytest.mark.parametrize("kind", AUTO)
def test_each_quadrant_has_the_class_of_its_own_colour(kind: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / kind, kind)
    teach(folder, kind)
    annotator = Annotator(Recipe.for_model(f"hf:{folder}"), k=3)
    h, w = annotator.grid
    for colours in ([[RED, GREEN], [BLUE, GREEN]], [[BLUE, BLUE], [RED, GREEN]]):
        found = probabilities(annotator, quadrants(np.array(colours), SIZES[kind]))
        means = found.reshape(2, h // 2, 2, w // 2, 3).mean((1, 3))
        assert means.argmax(-1).tolist() == colours
        assert means.max(-1).min() > 0.5
