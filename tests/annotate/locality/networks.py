"""Which networks do the tests of locality measure? One that sees a cell of 8x8 pixels, and one that sees everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.models import generate_default_cfgs, register_model
from torch import nn

from annotate.model.network import Network
from annotate.model.recipe import Recipe

CELL = 8
COLOURS = np.array([(r, g, b) for r in (0, 85, 170, 255) for g in (0, 85, 170, 255) for b in (0, 128, 255)], np.uint8)
CLASSES = len(COLOURS)
SHARPNESS = 400  # of the nearest colour, 1/3 from the next
SIZE = (64, 64)  # pixels: 8x8 locations
# What timm must know of a network that is named on a command line; register_model reads it by this name.
default_cfgs = generate_default_cfgs(
    {
        f"{name}.of_tests": {
            "input_size": (3, *SIZE),
            "num_classes": CLASSES,
            "mean": (0, 0, 0),
            "std": (1, 1, 1),
            "interpolation": "bicubic",
        }
        for name in ("one_cell", "everything", "half")
    }
)


class OneCell(nn.Module):
    """Classifies the mean colour of each cell; its features are those of one cell alone."""

    global_pool = "avg"
    num_classes = CLASSES

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, CLASSES)
        with torch.no_grad():  # the nearest of these colours
            colours = torch.from_numpy(COLOURS / 255).float()
            self.fc.weight.copy_(2 * SHARPNESS * colours)
            self.fc.bias.copy_(-SHARPNESS * (colours**2).sum(1))

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(pixels, CELL)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.fc(features.mean((2, 3)))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(pixels))


class Everything(OneCell):
    """The same, made global on purpose: each location has the mean features of all. Its labels still add up exactly."""

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        features = super().forward_features(pixels)
        return features.mean((2, 3), keepdim=True).expand_as(features)


class Half(OneCell):
    """Half of what a location knows is its own."""

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        features = super().forward_features(pixels)
        return (features + features.mean((2, 3), keepdim=True)) / 2


@register_model
def one_cell(pretrained: bool = False, **kwargs: object) -> OneCell:
    return OneCell()


@register_model
def everything(pretrained: bool = False, **kwargs: object) -> OneCell:
    return Everything()


@register_model
def half(pretrained: bool = False, **kwargs: object) -> OneCell:
    return Half()


def recipe_of(model: str, **settings: object) -> Recipe:
    network = Network(model=model, weights="pretrained", input_size=SIZE, mean=(0, 0, 0), std=(1, 1, 1))
    return Recipe(networks=(network,), **settings)


def write_pictures(folder: Path, count: int, *, noise: int = 0, of: Sequence[int] = ()) -> Path:
    """Pictures of one colour each, all different; or with `of`, of this one.

    With noise, each block of them has another colour near it, so that pictures have classes in common.
    """
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number, colour in enumerate(np.tile(of, (count, 1)) if of else COLOURS[:count]):
        blocks = colour + rng.integers(-noise, noise + 1, (5, 4, 3))
        pixels = blocks.clip(0, 255).astype(np.uint8).repeat(8, 0).repeat(12, 1)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder
