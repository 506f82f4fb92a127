"""Where does a pixel come from? A picture whose colour encodes its coordinates shows it after any transform."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from tests.labels import random_labels
from tokenlabel.geometry.warp import Warp
from tokenlabel.pipelines.label_tensor import LabelTensor
from tokenlabel.pipelines.policies import LabeledCompose

GRID = 18  # errors are measured in cells of a label grid of 18 x 18
SHAPES = {"wide": (75, 100), "tall": (100, 75), "square": (80, 80)}
# Of a picture of 75x100 pixels, of 40 classes.
LABEL = replace(random_labels(np.random.default_rng(3), 1)[0], sizes=np.array([75, 100], np.uint32))


def coordinates(height: int, width: int) -> torch.Tensor:
    """A picture whose red is its y, whose green is its x, and whose blue is 1: float32 [3, height, width].

    Where a transform fills with 0, the blue says so.
    """
    y = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    x = ((torch.arange(width) + 0.5) / width)[None].expand(height, width)
    return torch.stack([y, x, torch.ones(height, width)])


def pil_coordinates(height: int, width: int) -> Image.Image:
    """The same as 8 bits a channel."""
    return Image.fromarray((coordinates(height, width) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def colours(picture: Image.Image | torch.Tensor) -> np.ndarray:
    """What a picture of coordinates shows: float64 [H, W, (y, x, 1)]."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture, float) / 255
    scale = 255 if picture.dtype == torch.uint8 else 1
    return picture.as_subclass(torch.Tensor).permute(1, 2, 0).double().numpy() / scale


@dataclass
class Agreement:
    """How well warps name the points that pixels show, over many pictures.

    margin:  pixels within this distance of a border, where filters blend what lies on both sides, are not judged
    judged:  pixels that show the picture
    outside: pixels that show nothing of it
    strays:  of those, how many are not the fill
    worst:   the largest error of a judged pixel's y or x, in cells
    """

    margin: int = 2
    judged: int = 0
    outside: int = 0
    strays: int = 0
    worst: float = 0.0
    total: float = 0.0

    def add(self, picture: Image.Image | torch.Tensor, warp: Warp) -> None:
        """Compare one picture of coordinates with what a warp says of it."""
        shown = colours(picture)
        height, width = shown.shape[:2]
        places, inside = warp.trace_back(pixel_centres(height, width))
        inside = inside.reshape(height, width)
        well, away = eroded(inside, self.margin), eroded(~inside, self.margin)
        errors = np.abs(places.reshape(height, width, 2) - shown[..., :2])[well] * GRID
        self.judged += int(well.sum())
        self.outside += int(away.sum())
        self.strays += int((shown[..., 2][away] > 0.02).sum())
        self.worst = max(self.worst, float(errors.max(initial=0)))
        self.total += float(errors.mean(1).sum())

    @property
    def mean(self) -> float:
        """The mean error of judged pixels, in cells."""
        return self.total / self.judged


def agreement(transform: Any, picture: Any, *, draws: int, margin: int = 2) -> Agreement:
    """How well a LabelTensor agrees with its picture, after so many draws of a transform from one seed."""
    pipeline, found = LabeledCompose([transform]), Agreement(margin)
    label = LabelTensor(LABEL, picture, canvas=tuple(functional.get_size(picture)))
    torch.manual_seed(0)
    for _ in range(draws):
        moved, label_map = pipeline(picture, label)
        found.add(moved, label_map.warp)
    return found


def labelled(picture: Any, *, canvas: tuple[int, int] | None = None) -> tuple[Any, LabelTensor]:
    """A picture, and the LabelTensor that was made for it."""
    return picture, LabelTensor(LABEL, picture, canvas=canvas)


def pixel_centres(height: int, width: int) -> np.ndarray:
    """Of all pixels of a picture, row by row: float64 [height * width, (y, x)] in unit coordinates."""
    y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    return np.stack([y, x], -1).reshape(-1, 2)


def eroded(mask: np.ndarray, margin: int) -> np.ndarray:
    """What is left of a mask [H, W] without everything within a distance of its outside, or of the array's edges."""
    height, width = mask.shape
    framed = np.pad(mask, margin)
    rows = np.logical_and.reduce([framed[i : i + height] for i in range(2 * margin + 1)])
    return np.logical_and.reduce([rows[:, j : j + width] for j in range(2 * margin + 1)])
