"""What is a batch of pictures for descriptors? Pixels, which pictures they are, and perhaps their tokens' weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from storage import open_store
from tokenlabel.dataset import KeyedExample, LabeledImages, collate
from tokenlabel.dataset.epoch import Draw
from tokenlabel.pipelines.traced import Traced
from tokenlabel.retrieval.label_weights import label_weights


class Batch(NamedTuple):
    """Pixels float [b, 3, H, W], indices int64 [b], and the weights of tokens float [b, t], or None."""

    pixels: torch.Tensor
    indices: torch.Tensor
    weights: torch.Tensor | None

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        weights = None if self.weights is None else self.weights.to(device)
        return Batch(self.pixels.to(device), self.indices.to(device), weights)


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Pictures of a folder, each with its index. What is random in one is a pure function of (seed, step, index, draw).

    Args:
        images: a folder, without a transform of its own.
        augment: makes training pictures.
        seed: of all randomness.
    """

    def __init__(self, images: ImageFolder, augment: Traced, *, seed: int = 0) -> None:
        self.images, self.augment, self.seed = images, augment, seed

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Pixels float [3, H, W], and the index."""
        step, repeat = (index.epoch, index.repeat) if isinstance(index, Draw) else (0, 0)
        rng = np.random.default_rng([self.seed, step, index, repeat])
        pixels, _ = self.augment(self.images[index][0], rng)
        return pixels, int(index)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.images)


def labelled_pictures(
    images: ImageFolder, labels: str, augment: Traced, grid: tuple[int, int], seed: int
) -> LabeledImages:
    """The same with the labels of their tokens, for pooling by labels; classes of folders are not compared.

    Raises:
        KeyNotFoundError, LabelError: see `LabeledImages`.
    """
    store = open_store(labels)
    return LabeledImages(
        images,
        store,
        augment=augment,
        tokens=grid,
        class_count=store.schema.class_count,
        own_classes=False,
        seed=seed,
        with_keys=True,
    )


def batch_of(examples: Sequence[Any]) -> Batch:
    """Pictures as a batch: the `collate_fn` of a loader over either."""
    if isinstance(examples[0], KeyedExample):
        labelled = collate(examples)
        return Batch(labelled.pixels, torch.as_tensor(labelled.index), label_weights(labelled.targets))
    pixels, index = default_collate(list(examples))
    return Batch(pixels, index, None)


def pipeline(
    img_size: int, resize: int, mean: Sequence[float], std: Sequence[float], *, hflip: float | None = None
) -> Traced:
    """How pictures are shown: for training a random crop, perhaps mirrored; where `hflip` is None, the centre.

    Args:
        img_size: height and width of what is shown, pixels.
        resize: shorter side before the crop.
        mean, std: of pixels in [0, 1], that the network was made for.
        hflip: probability of mirroring.
    """
    crop = [v2.CenterCrop(img_size)] if hflip is None else [v2.RandomCrop(img_size), v2.RandomHorizontalFlip(hflip)]
    last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]
    return Traced([v2.Resize(resize, interpolation=v2.InterpolationMode.BICUBIC), *crop, *last])
