"""Do a student's tokens know what is where? One linear layer on frozen features predicts the digit under each pixel.

It predicts eleven classes, ten digits and none, for each token, enlarged to the pixels (bilinear); the truth is that of
demo/scenes.py, which nothing else in training reads. The layer learns from every other row and column.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812 the field's own name
from torchvision.datasets import ImageFolder

from demo.scenes import BACKGROUND
from demo.students import CLASSES, SIZE, token_features

NOTHING = CLASSES  # the class of pixels without a digit
STEPS, BATCH = 200, 32


class Seen(NamedTuple):
    """How well pixels of val are predicted: mean intersection over union of the ten digits, and accuracy."""

    miou: float
    pixel_accuracy: float


def truths(images: Path, truth: Path) -> torch.Tensor:
    """The class of each pixel of whole pictures at SIZE: int64 [n, H, W], in the order of the folder."""
    found = []
    for path, _ in ImageFolder(images).samples:
        beside = (truth / Path(path).relative_to(images)).with_suffix(".png")
        found.append(np.asarray(Image.open(beside).resize(SIZE[::-1], Image.Resampling.NEAREST)))
    digits = torch.from_numpy(np.stack(found)).long()
    return torch.where(digits == BACKGROUND, NOTHING, digits)


def probe(
    model: Any,
    train: tuple[torch.Tensor, torch.Tensor],
    val: tuple[torch.Tensor, torch.Tensor],
    *,
    seed: int,
    steps: int = STEPS,
    features_of: Callable[[Any, torch.Tensor], torch.Tensor] = token_features,
) -> Seen:
    """Train the layer on pixels and truth of train, and evaluate it on val.

    Args:
        model: the student; it stays as it is.
        train, val: pixels [n, 3, H, W] and the class of each pixel [n, H, W].
        seed: decides the order of pictures.
        steps: steps of Adam.
        features_of: the features of the model's tokens, as a map [n, D, h, w].
    """
    generator = torch.Generator().manual_seed(seed)
    features = _features(features_of, model, train[0])
    mean, deviation = features.mean((0, 2, 3), keepdim=True), features.std((0, 2, 3), keepdim=True).clamp(min=1e-6)
    layer = torch.nn.Conv2d(features.shape[1], NOTHING + 1, 1)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.Adam(layer.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def predicted(some: torch.Tensor) -> torch.Tensor:
        return F.interpolate(layer((some - mean) / deviation), SIZE, mode="bilinear")

    def quarter(of_pixels: torch.Tensor) -> torch.Tensor:
        return of_pixels[..., ::2, ::2]

    for _ in range(steps):
        chosen = torch.randint(len(features), (BATCH,), generator=generator)
        loss = F.cross_entropy(quarter(predicted(features[chosen])), quarter(train[1][chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    counts = torch.zeros(NOTHING + 1, NOTHING + 1, dtype=torch.int64)
    with torch.inference_mode():
        for some, right in zip(_features(features_of, model, val[0]).split(250), val[1].split(250), strict=True):
            pairs = right * (NOTHING + 1) + predicted(some).argmax(1)
            counts += torch.bincount(pairs.flatten(), minlength=counts.numel()).view(counts.shape)
    both = counts.diagonal().double()
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    return Seen(float((both / union.clamp(min=1))[:NOTHING].mean()), float(both.sum() / counts.sum()))


@torch.inference_mode()
def _features(
    features_of: Callable[[Any, torch.Tensor], torch.Tensor], model: Any, pixels: torch.Tensor
) -> torch.Tensor:
    return torch.cat([features_of(model, some) for some in pixels.split(250)]).clone()
