"""Does a segmenter that has learned colours label each quadrant of a picture by the colour that is there?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from tests.annotate.model.elsewhere.test_hf_network import probabilities
from tests.annotate.model.elsewhere.tiny_networks import SIZES, saved

transformers = pytest.importorskip("transformers")

SIZE = SIZES["segformer"]
RED, GREEN, BLUE = range(3)  # also the numbers of the classes


def quadrants(colours: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] whose quadrants have these colours [2, 2]."""
    return (np.eye(3)[colours] * 255).astype(np.uint8).repeat(SIZE[0] // 2, 0).repeat(SIZE[1] // 2, 1)


def teach(folder: Path) -> None:
    """Train a network on random quadrants, and save it again. Nothing of ours is asked but its normalisation."""
    network = transformers.AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    about = Recipe.for_model(f"hf:{folder}").networks[0]
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (about.mean, about.std))
    rng, optimizer = np.random.default_rng(0), torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(120):
        colours = rng.integers(0, 3, (12, 2, 2))
        pictures = torch.from_numpy(np.stack([quadrants(each) for each in colours]))
        logits = network(pixel_values=(pictures.permute(0, 3, 1, 2) / 255 - mean) / std).logits
        (h, w), wanted = logits.shape[2:], torch.from_numpy(colours)
        wanted = wanted.repeat_interleave(h // 2, 1).repeat_interleave(w // 2, 2)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, wanted).backward()
        optimizer.step()
    network.save_pretrained(folder)


def test_each_quadrant_has_the_class_of_its_own_colour(tmp_path: Path) -> None:
    folder = saved(tmp_path / "segformer", "segformer")
    teach(folder)
    annotator = Annotator(Recipe.for_model(f"hf:{folder}"), k=3)
    h, w = annotator.grid
    for colours in ([[RED, GREEN], [BLUE, GREEN]], [[BLUE, BLUE], [RED, GREEN]]):
        found = probabilities(annotator, quadrants(np.array(colours)))
        means = found.reshape(2, h // 2, 2, w // 2, 3).mean((1, 3))
        assert means.argmax(-1).tolist() == colours
        assert means.max(-1).min() > 0.5
