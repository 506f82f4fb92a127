"""How do training pictures and labels meet? By key: any image dataset, joined to a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.datasets import DatasetFolder

from storage import KeyNotFoundError, LabelMap, LabelStore, Status, open_store
from tokenlabel.augment import Augmentation
from tokenlabel.errors import LabelError
from tokenlabel.targets import TokenTargets, token_targets

_NO_ROW = -1


class Example(NamedTuple):
    """One training picture, or a batch of them with a leading axis: float32 [3, H, W], targets, and its class."""

    pixels: torch.Tensor
    targets: TokenTargets
    label: torch.Tensor


class LabeledImages(Dataset[Example]):
    """Training pictures with the labels of exactly the pixels that they show.

    What an augmentation does to a picture decides what its label says. Its chance is a pure function of (seed, epoch,
    index), whatever the batches and the loader's workers.

    Args:
        images: any map-style dataset that gives (PIL picture, class number).
        store: a label store, or its address.
        keys: the store's key of each picture; `folder_keys` gives those of a torchvision folder.
        augment: what makes training pictures: `Crops`, or a pipeline of torchvision's or timm's, `traced`.
        tokens: rows and columns of the model's tokens.
        class_count: of the model; if it is given, it must be the store's.
        missing: what is done with pictures that have no label: "refuse", or "class": their own class is what the whole
            picture is taught, and none of their tokens is taught anything. `missing_count` says how many they are.
        keep: classes kept for each token.
        seed: of all chance.

    Raises:
        KeyNotFoundError: the store has no row for a key.
        LabelError: a picture's row has no label, there is not one key for each picture, the store has another number
            of classes, its scores are logits, or the tokens form no grid.
    """

    def __init__(
        self,
        images: Any,
        store: LabelStore | str | os.PathLike[str],
        *,
        keys: Sequence[str],
        augment: Augmentation,
        tokens: tuple[int, int],
        class_count: int | None = None,
        missing: Literal["refuse", "class"] = "refuse",
        keep: int = 8,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.store = store if isinstance(store, LabelStore) else open_store(store)
        self.tokens, self.keep, self.seed = tokens, keep, seed
        self._augment = augment
        if len(tokens) != 2 or min(tokens) < 1 or keep < 1:
            raise LabelError(
                f"tokens must be (rows, columns) and keep a number, each at least 1, not {tokens} and {keep}"
            )
        if len(keys) != len(images):
            raise LabelError(f"{len(images)} pictures were given with {len(keys)} keys; each needs one")
        if missing not in ("refuse", "class"):
            raise LabelError(f"missing must be 'refuse' or 'class', not {missing!r}")
        _refuse_store(self.store, class_count)
        self._rows = self._find(keys, missing)
        self.missing_count = int((self._rows == _NO_ROW).sum())
        # Shared memory, so that the loader's workers see a new epoch too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw anew from now on. Call it before each pass over the data."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        """One training picture and its targets.

        Raises:
            LabelError: the picture is not the one that was labelled, by its size.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Example]:
        """Many at once, with one read of the store: what DataLoader calls for a batch."""
        rows = self._rows[indices]
        labels = self.store.read(rows[rows != _NO_ROW])
        sizes = iter(labels.sizes.tolist())
        views, pixels, classes = [], [], []
        for index, row in zip(indices, rows.tolist(), strict=True):
            picture, label = self.images[index]
            if row != _NO_ROW:
                _refuse_other_picture(index, picture, next(sizes))
            rng = np.random.default_rng([self.seed, int(self._epoch), index])
            shown, view = self._augment(picture.convert("RGB"), rng)
            pixels.append(shown)
            classes.append(torch.tensor(label))
            if row != _NO_ROW:
                views.append(view)
        found = iter(self._targets(labels, views))
        targets = [
            next(found) if row != _NO_ROW else self._only_class(label)
            for row, label in zip(rows.tolist(), classes, strict=True)
        ]
        return [Example(*parts) for parts in zip(pixels, targets, classes, strict=True)]

    def _targets(self, labels: LabelMap, views: list[Any]) -> list[TokenTargets]:
        if not views:
            return []
        targets = token_targets(labels, views, self.tokens, keep=self.keep)
        return [targets[n] for n in range(len(views))]

    def _only_class(self, label: torch.Tensor) -> TokenTargets:
        """The targets of a picture without a label: its own class as a whole, and nothing of its tokens."""
        places = 1 + self.tokens[0] * self.tokens[1]
        classes = torch.zeros(places, self.keep, dtype=torch.int32)
        probabilities = torch.zeros(places, self.keep)
        outside = torch.ones(places, dtype=torch.bool)
        classes[0, 0], probabilities[0, 0], outside[0] = label, 1.0, False
        return TokenTargets(classes, probabilities, outside)

    def _find(self, keys: Sequence[str], missing: str) -> np.ndarray:
        """The row of each key; or -1 where it has no label, and that may be so."""
        rows = np.full(len(keys), _NO_ROW, np.int64)
        for n, key in enumerate(keys):
            try:
                rows[n] = self.store.find(key)
            except KeyNotFoundError:
                if missing == "refuse":
                    raise
        status = np.where(rows == _NO_ROW, Status.MISSING, self.store.column("status")[rows])
        unlabelled = np.flatnonzero(status != Status.LABELLED)
        if unlabelled.size and missing == "refuse":
            first = int(unlabelled[0])
            raise LabelError(
                f"{unlabelled.size} of {len(keys)} pictures have no label in {self.store.address}; the first is "
                f"{keys[first]!r}, {Status(int(status[first])).word}. Run `annotate run` to its end, leave out "
                'pictures that cannot be labelled, or give missing="class" to teach them their class alone'
            )
        if len(unlabelled) == len(keys):
            raise LabelError(f"none of the {len(keys)} pictures has a label in {self.store.address}")
        rows[unlabelled] = _NO_ROW
        return rows


def _refuse_store(store: LabelStore, class_count: int | None) -> None:
    if store.schema.scores != "probability":
        raise LabelError(
            f"the labels in {store.address} are logits, as another tool wrote them; tokenlabel.paper trains on them, "
            "and all else on probabilities only: label the pictures with `annotate run`"
        )
    if class_count is not None and class_count != store.schema.class_count:
        raise LabelError(
            f"the model has {class_count} classes, and the labels in {store.address} are of {store.schema.class_count};"
            " they must be the same classes"
        )


def _refuse_other_picture(index: int, picture: Image.Image, size: Sequence[int]) -> None:
    if (picture.height, picture.width) != tuple(size):
        raise LabelError(
            f"picture {index} has {picture.height}x{picture.width} pixels, but {size[0]}x{size[1]} when it was "
            "labelled; a dataset that turns pictures by EXIF or resizes them does not fit these labels"
        )


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
