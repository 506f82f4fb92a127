"""How do training pictures and labels meet? By key: any image dataset, joined to a store."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.datasets import DatasetFolder

from storage import Box, LabelStore, Status, open_store
from tokenlabel.errors import LabelError
from tokenlabel.targets import TokenTargets, token_targets
from tokenlabel.view import View, random_view

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for pixels in [0, 1]


class Example(NamedTuple):
    """One training picture, or a batch of them with a leading axis: float32 [3, H, W], targets, and its class."""

    pixels: torch.Tensor
    targets: TokenTargets
    label: torch.Tensor


class LabeledImages(Dataset[Example]):
    """Training pictures with the labels of exactly the pixels that they show.

    A random resized crop and a mirror are drawn as a `View`, which cuts both the picture and its label. The draw is a
    pure function of (seed, epoch, index), whatever the batches and the loader's workers.

    Args:
        images: any map-style dataset that gives (PIL picture, class number).
        store: a label store, or its address.
        keys: the store's key of each picture; `folder_keys` gives those of a torchvision folder.
        size: height and width of training pictures, pixels.
        tokens: rows and columns of the model's tokens.
        draw: (generator, (height, width) of the source picture) -> View; by default `random_view`.
        transform: PIL picture -> float32 [3, H, W]; must move no pixel. By default ImageNet's normalisation.
        keep: classes kept for each token.
        seed: of all draws.

    Raises:
        KeyNotFoundError: the store has no row for a key.
        LabelError: a picture's row has no label, or there is not one key for each picture.
    """

    def __init__(
        self,
        images: Any,
        store: LabelStore | str | os.PathLike[str],
        *,
        keys: Sequence[str],
        size: tuple[int, int],
        tokens: tuple[int, int],
        draw: Callable[[np.random.Generator, tuple[int, int]], View] = random_view,
        transform: Callable[[Image.Image], torch.Tensor] | None = None,
        keep: int = 8,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.store = store if isinstance(store, LabelStore) else open_store(store)
        self.size, self.tokens, self.keep, self.seed = size, tokens, keep, seed
        self._draw = draw
        self._transform = transform or normalised
        if len(keys) != len(images):
            raise LabelError(f"{len(images)} pictures were given with {len(keys)} keys; each needs one")
        if self.store.schema.scores != "probability":
            raise LabelError(
                f"the labels in {self.store.address} are logits, as another tool wrote them; this version trains on "
                "probabilities only: label the pictures with `annotate run`"
            )
        self._rows = np.array([self.store.find(key) for key in keys], np.int64)
        status = self.store.column("status")[self._rows]
        if (unlabelled := np.flatnonzero(status != Status.LABELLED)).size:
            first = int(unlabelled[0])
            raise LabelError(
                f"{unlabelled.size} of {len(keys)} pictures have no label in {self.store.address}; the first is "
                f"{keys[first]!r}, {Status(int(status[first])).word}. Run `annotate run` to its end, and leave out "
                "pictures that cannot be labelled"
            )
        # Shared memory, so that the loader's workers see a new epoch too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw other views from now on. Call it before each pass over the data."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        """One training picture and its targets."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Example]:
        """Many at once, with one read of the store: what DataLoader calls for a batch."""
        labels = self.store.read(self._rows[indices])
        views, pixels, classes = [], [], []
        for index, size in zip(indices, labels.sizes.tolist(), strict=True):
            picture, label = self.images[index]
            if (picture.height, picture.width) != tuple(size):
                raise LabelError(
                    f"picture {index} has {picture.height}x{picture.width} pixels, but {size[0]}x{size[1]} when it was "
                    "labelled; a dataset that turns pictures by EXIF or resizes them does not fit these labels"
                )
            rng = np.random.default_rng([self.seed, int(self._epoch), index])
            views.append(self._draw(rng, (picture.height, picture.width)))
            pixels.append(self._transform(views[-1].apply(picture.convert("RGB"), self.size)))
            classes.append(torch.tensor(label))
        targets = token_targets(labels, views, self.tokens, keep=self.keep)
        return [Example(pixels[n], targets[n], classes[n]) for n in range(len(indices))]


def collate(examples: Sequence[Example]) -> Example:
    """Examples as a batch: the `collate_fn` of a DataLoader over `LabeledImages`."""
    return Example(
        torch.stack([example.pixels for example in examples]),
        TokenTargets.stack([example.targets for example in examples]),
        torch.stack([example.label for example in examples]),
    )


def folder_keys(images: DatasetFolder) -> list[str]:
    """The keys of a torchvision folder's pictures, as `annotate run` gives them to the same folder."""
    root = Path(images.root)
    return [Path(path).relative_to(root).as_posix() for path, _ in images.samples]


def whole_view(rng: np.random.Generator, size: tuple[int, int]) -> View:
    """A `draw` that always takes the whole picture: for evaluation."""
    return View(Box.whole())


def normalised(picture: Image.Image) -> torch.Tensor:
    """An RGB picture as float32 [3, H, W] with ImageNet's mean and standard deviation taken out."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(3, 1, 1)
