"""Which annotators do the tests of fidelity ask? Functions whose answer is known: a local one, and a global one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from annotate.model.recipe import Recipe

SIDE, CELL = 64, 8  # pixels of the input, and of a location


class MeanColour:
    """The parts of red, green and blue in each cell are the probabilities of three classes; a fourth never occurs."""

    class_names = "red", "green", "blue", "none of these"
    input_size = SIDE, SIDE
    gives = "probabilities"
    interpolation = "nearest"

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        colours = avg_pool2d(pixels, CELL) + 1e-6
        parts = colours / colours.sum(1, keepdim=True)
        return torch.cat([parts, torch.zeros_like(parts[:, :1])], 1).permute(0, 2, 3, 1)


class MeanOfAll(MeanColour):
    """The same, made global: each location has the colour of all."""

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        local = super().__call__(pixels)
        return local.mean((1, 2), keepdim=True).expand_as(local)


def local() -> MeanColour:
    return MeanColour()


def of_all() -> MeanOfAll:
    return MeanOfAll()


def recipe_of(function: str) -> Recipe:
    return Recipe.for_model(f"{__name__}:{function}")


def picture(seed: int) -> np.ndarray:
    """Blocks of random colours, uint8 [64, 64, 3]; those of each channel add up to 255. A block is a location."""
    rng = np.random.default_rng(seed)
    parts = rng.dirichlet([0.3, 0.3, 0.3], (SIDE // CELL, SIDE // CELL))
    colours = np.floor(parts * 255).astype(np.uint8)
    colours[..., 2] = 255 - colours[..., 0] - colours[..., 1]
    return colours.repeat(CELL, 0).repeat(CELL, 1)


def write_pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.fromarray(picture(number)).save(folder / f"{number:02}.png")
    return folder
