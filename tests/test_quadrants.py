"""Does every token get the colour that it sees? Four coloured quadrants, from the file to the training target.

The whole pipeline is real: a picture file, a timm-style network that classifies colour, a store on disk, a crop of the
pixels, and the target that training would get. What a token sees is read from the training picture's own pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models import register_model
from torch import nn
from torchvision.datasets import ImageFolder

from annotate.images import FolderImages
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.network import Network
from annotate.model.recipe import Recipe
from storage import Box
from tokenlabel import Crops, Example, LabeledImages, View, Views, folder_keys

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)  # class 0 … 3
TOKENS = (6, 6)
SIZE = (96, 96)  # pixels of a training picture: 16 a token


class ColourNet(nn.Module):
    """A classifier of colour with timm's two halves: a map of mean colours 8 pixels apart, and a head that pools."""

    global_pool = "avg"
    num_classes = 4

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)
        with torch.no_grad():  # 40 · (2 c·x − c·c): the nearest colour by far
            colours = torch.from_numpy(COLOURS / 255).float()
            self.fc.weight.copy_(80 * colours)
            self.fc.bias.copy_(-40 * (colours**2).sum(1))

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(pixels, 8)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.fc(features.mean((2, 3)))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(pixels))


class FromTheFirstPixel(ColourNet):
    """Its first location has its middle at the first pixel, as in networks whose strided layers pad on both sides."""

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(pixels, 7, stride=8, padding=3, count_include_pad=False)


@register_model
def colour_net(pretrained: bool = False, **kwargs: object) -> ColourNet:
    return ColourNet()


@register_model
def colour_net_from_the_first_pixel(pretrained: bool = False, **kwargs: object) -> ColourNet:
    return FromTheFirstPixel()


def quadrants(height: int, width: int) -> np.ndarray:
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = COLOURS[0], COLOURS[1]
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = COLOURS[2], COLOURS[3]
    return picture


def views() -> Iterator[View]:
    """Crops in every corner and the middle, mirrored or not."""
    for size in (0.35, 0.5, 0.75, 1.0):
        for top in {0.0, (1 - size) / 2, 1 - size}:
            for left in {0.0, (1 - size) / 2, 1 - size}:
                for mirrored in (False, True):
                    yield View(Box(top, left, min(1.0, top + size), min(1.0, left + size)), mirrored)
    yield View(Box(0, 0, 0.3, 1))
    yield View(Box(0, 0.6, 1, 1), mirrored=True)


@pytest.fixture
def dataset(tmp_path: Path, shape: tuple[int, int], preprocess: str, model: str) -> LabeledImages:
    (tmp_path / "images" / "a").mkdir(parents=True)
    Image.fromarray(quadrants(*shape)).save(tmp_path / "images" / "a" / "quadrants.png")
    network = Network(model=model, weights="pretrained", input_size=(192, 192), mean=(0, 0, 0), std=(1, 1, 1))
    recipe = Recipe(networks=(network,), preprocess=preprocess)
    summary = run(FolderImages(tmp_path / "images"), str(tmp_path / "labels.zarr"), recipe, LocalWorkers(), k=2)
    assert summary.complete
    images = ImageFolder(tmp_path / "images")
    return LabeledImages(
        images,
        tmp_path / "labels.zarr",
        keys=folder_keys(images),
        augment=shown(View.whole()),
        tokens=TOKENS,
        class_count=4,
        own_classes=False,
    )


def shown(view: View) -> Crops:
    """An augmentation that always shows the same part, and leaves the pixels as they are: uint8 [H, W, 3]."""
    return Crops(SIZE, draw=lambda rng, size: view, finish=lambda picture: torch.from_numpy(np.array(picture)))


def likeliest(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """The best class of each token, and its probability."""
    mass, at = example.targets.probabilities[1:].max(-1)
    return example.targets.classes[1:].gather(-1, at[:, None])[:, 0].numpy(), mass.numpy()


def seen(pixels: np.ndarray) -> np.ndarray:
    """For each token the class of the one colour that it shows, or -1 where it shows more than one: int [t]."""
    patch = SIZE[0] // TOKENS[0]
    tokens = pixels.reshape(TOKENS[0], patch, TOKENS[1], patch, 3).swapaxes(1, 2).reshape(-1, patch * patch, 3)
    distance = np.abs(tokens[:, :, None].astype(int) - COLOURS.astype(int)).sum(-1)
    nearest, near = distance.argmin(-1), distance.min(-1) < 60
    one = near.all(1) & (nearest == nearest[:, :1]).all(1)
    return np.where(one, nearest[:, 0], -1)


@pytest.mark.parametrize("shape", [(96, 288), (288, 96), (120, 120)], ids=["3:1", "1:3", "square"])
@pytest.mark.parametrize(
    ("model", "preprocess"),
    [
        ("colour_net", "squash"),
        ("colour_net", "letterbox"),
        ("colour_net", "center"),
        # Not letterbox: its locations at the picture's edges see grey bars, too, which this network takes for a colour.
        ("colour_net_from_the_first_pixel", "squash"),
        ("colour_net_from_the_first_pixel", "center"),
    ],
)
def test_every_crop_gives_each_token_the_colour_it_sees(dataset: LabeledImages, preprocess: str) -> None:
    checked = outside = 0
    for view in views():
        dataset._views = Views(shown(view))
        example = dataset[0]
        truth = seen(example.pixels.numpy())
        away = example.targets.outside[1:].numpy()
        named, mass = likeliest(example)
        judged = (truth >= 0) & ~away
        assert (named[judged] == truth[judged]).all(), view
        assert (mass[judged] > 0.5).all(), view
        assert (mass[away] == 0).all()
        checked += judged.sum()
        outside += away.sum()
    assert checked > 500
    assert (outside > 0) == (preprocess == "center" and dataset.images[0][0].width != dataset.images[0][0].height)


@pytest.mark.parametrize("shape", [(96, 288)])
@pytest.mark.parametrize("preprocess", ["squash"])
@pytest.mark.parametrize("model", ["colour_net"])
def test_the_published_arithmetic_fails_here(dataset: LabeledImages, preprocess: str) -> None:
    """The same test must be able to fail: with x and y of the crop swapped, as published tools have them."""
    wrong = 0
    for view in views():
        dataset._views = Views(shown(view))
        pixels = dataset[0].pixels.numpy()
        swapped = View(Box(view.box.left, view.box.top, view.box.right, view.box.bottom), view.mirrored)
        dataset._views = Views(shown(swapped))
        (named, _), truth = likeliest(dataset[0]), seen(pixels)
        wrong += (named != truth)[truth >= 0].sum()
    assert wrong > 100
