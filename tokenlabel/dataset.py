"""How do training pictures and labels meet? By key: any image dataset, joined to a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset
from torchvision import transforms as v1
from torchvision.datasets import DatasetFolder

from storage import KeyNotFoundError, LabelMap, LabelStore, Status, open_store
from tokenlabel.align import covers_something
from tokenlabel.augment import Augmentation
from tokenlabel.errors import LabelError
from tokenlabel.paper import PAPER_KEEP, Paper
from tokenlabel.sparse import refuse_grid
from tokenlabel.targets import TokenTargets, token_targets
from tokenlabel.view import View
from tokenlabel.warp import Warp

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
        images: any map-style dataset that gives (PIL picture, class number), as it was labelled: one of torchvision's
            must have no transform of its own.
        store: a label store, or its address.
        keys: the store's key of each picture; those of a torchvision folder are known, see `folder_keys`.
        augment: what makes training pictures: `Crops`, or a pipeline of torchvision's or timm's, `traced`.
        tokens: rows and columns of the model's tokens.
        class_count: of the model; it must be the store's.
        own_classes: whether the class numbers that `images` gives are those of the store. Where they are of other
            classes, False: every example's label is -1, and the annotator's own labels are all that is taught.
        recipe: "ours" blends probabilities; "paper", or a `tokenlabel.paper.Paper` with its switches, repeats the
            published recipe, from logits, too.
        missing: what is done with pictures that have no label: "refuse", or "class": their own class is what the whole
            picture is taught, and none of their tokens is taught anything. `missing_count` says how many they are.
        keep: classes kept for each token; by default 8, and of the paper's recipe up to 64, so that none is lost.
        seed: of all chance.

    Raises:
        KeyNotFoundError: the store has no row for a key.
        LabelError: a picture's row has no label, or does not say how large the picture was, or what of it the label
            covers; there is not one key for each picture; the store has another number of classes than the model, or
            other classes than the data set says; its scores are logits, and the recipe is ours; the data set has a
            transform; the tokens form no grid.
    """

    def __init__(
        self,
        images: Any,
        store: LabelStore | str | os.PathLike[str],
        *,
        keys: Sequence[str] | None = None,
        augment: Augmentation,
        tokens: tuple[int, int],
        class_count: int,
        own_classes: bool = True,
        recipe: Literal["ours", "paper"] | Paper = "ours",
        missing: Literal["refuse", "class"] = "refuse",
        keep: int | None = None,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.store = store if isinstance(store, LabelStore) else open_store(store)
        self._recipe = Paper() if recipe == "paper" else recipe
        keep = keep if keep is not None else 8 if recipe == "ours" else PAPER_KEEP
        self.tokens, self.keep, self.seed = tokens, keep, seed
        self._augment, self._own_classes = augment, own_classes
        refuse_grid(tokens, keep)
        _refuse_pipelines(images, augment)
        if self._recipe != "ours" and not isinstance(self._recipe, Paper):
            raise LabelError(f"recipe must be 'ours', 'paper' or a tokenlabel.paper.Paper, not {recipe!r}")
        if keys is None:
            if not isinstance(images, DatasetFolder):
                raise LabelError(
                    f"the keys of a {type(images).__name__}'s pictures are not known: give keys=[…], the path of each "
                    "below the folder that was labelled"
                )
            keys = folder_keys(images)
        if len(keys) != len(images):
            raise LabelError(f"{len(images)} pictures were given with {len(keys)} keys; each needs one")
        if missing not in ("refuse", "class"):
            raise LabelError(f"missing must be 'refuse' or 'class', not {missing!r}")
        if missing == "class" and not own_classes:
            raise LabelError('missing="class" teaches a picture its own class, which own_classes=False keeps out')
        self._refuse_classes(class_count)
        if self._recipe == "ours" and self.store.schema.scores != "probability":
            raise LabelError(
                f"the labels in {self.store.address} are logits, as another tool wrote them: train on them with "
                'recipe="paper", or label the pictures with `annotate run`'
            )
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
        """One training picture and its targets; -1 is the last.

        Raises:
            IndexError: there are not so many pictures.
            LabelError: the picture is not the one that was labelled, by its size; or it has a class that there is not.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Example]:
        """Many at once, with one read of the store: what DataLoader calls for a batch."""
        indices = [range(len(self))[index] for index in indices]
        rows = self._rows[indices]
        labels = self.store.read(rows[rows != _NO_ROW])
        sizes = iter(labels.sizes.tolist())
        views, pixels, classes = [], [], []
        for index, row in zip(indices, rows.tolist(), strict=True):
            picture, label = self.images[index]
            if not isinstance(picture, Image.Image):
                raise LabelError(
                    f"picture {index} is a {type(picture).__name__}, but has to be PIL's, as it was labelled; what "
                    "makes a tensor of it belongs into augment=Traced([…])"
                )
            if row != _NO_ROW:
                _refuse_other_picture(index, picture, next(sizes))
            rng = np.random.default_rng([self.seed, int(self._epoch), index])
            shown, view = _shown(self._augment(picture.convert("RGB"), rng))
            pixels.append(shown)
            classes.append(torch.tensor(self._checked(index, label) if self._own_classes else -1))
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
        if isinstance(self._recipe, Paper):
            count = self.store.schema.class_count
            targets = self._recipe.targets(labels, views, self.tokens, class_count=count, keep=self.keep)
        else:
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

    def _checked(self, index: int, label: int) -> int:
        if not 0 <= label < self.store.schema.class_count:
            raise LabelError(
                f"picture {index} has class {label}, of {self.store.schema.class_count} that the labels in "
                f"{self.store.address} are of; if its classes are others, give own_classes=False"
            )
        return label

    def _refuse_classes(self, class_count: int) -> None:
        known = self.store.schema.class_count
        if class_count != known:
            raise LabelError(
                f"the model has {class_count} classes, and the labels in {self.store.address} are of {known}; they "
                "must be the same classes"
            )
        own = tuple(map(str, _attribute(self.images, "classes") or ())) if self._own_classes else ()
        if len(own) not in (0, known):
            raise LabelError(
                f"the data set has {len(own)} classes, and the labels in {self.store.address} are of {known}: a class "
                "number does not mean the same in both. Give own_classes=False to train on the annotator's labels alone"
            )
        names = self.store.schema.class_names or own
        if own and own != names and set(own) == set(names):
            row = next(n for n, (mine, its) in enumerate(zip(own, names, strict=True)) if mine != its)
            raise LabelError(
                f"the data set's classes are those of the labels in {self.store.address}, but in another order: class "
                f"{row} is {own[row]!r} in the one and {names[row]!r} in the other. Number them alike, or give "
                "own_classes=False to train on the annotator's labels alone"
            )

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
        labelled = np.flatnonzero(rows != _NO_ROW)
        unknown = labelled[~self.store.column("sizes")[rows[labelled]].all(1)]
        if unknown.size:
            raise LabelError(
                f"{self.store.address} does not say how large {unknown.size} of its pictures were, the first of them "
                f"{keys[int(unknown[0])]!r}: whether these are the pictures that were labelled cannot be known. Write "
                "the labels again, with the pictures' sizes"
            )
        nowhere = labelled[~covers_something(self.store.column("boxes")[rows[labelled]])]
        if nowhere.size:
            raise LabelError(
                f"{self.store.address} does not say which part of its pictures {nowhere.size} labels cover, the first "
                f"that of {keys[int(nowhere[0])]!r}; `annotate verify --deep` tells more"
            )
        return rows


def _attribute(images: Any, name: str) -> Any:
    """What a data set, or that which it is a subset of, says of itself; None where it says nothing."""
    while images is not None:
        if (found := getattr(images, name, None)) is not None:
            return found
        images = getattr(images, "dataset", None)
    return None


def _refuse_pipelines(images: Any, augment: Any) -> None:
    """Refuse what would move pixels and leave the label where it is."""
    if _attribute(images, "transforms") is not None or (isinstance(images, DatasetFolder) and images.transform):
        raise LabelError(
            "the data set has a transform of its own, and its labels know nothing of what that moves: make it without, "
            "and give augment=Traced(transform), of tokenlabel.torchvision_bridge or tokenlabel.timm_bridge"
        )
    if not callable(augment) or isinstance(augment, v1.Compose | nn.Module):
        raise LabelError(
            f"augment must be Crops(…), Traced(…), or a function (picture, generator) -> (pixels, view), not a "
            f"{type(augment).__name__}; a pipeline as it is does not say what it moves: give Traced(pipeline), of "
            "tokenlabel.torchvision_bridge or tokenlabel.timm_bridge"
        )


def _shown(result: Any) -> tuple[torch.Tensor, View | Warp]:
    if isinstance(result, tuple) and len(result) == 2:
        pixels, view = result
        if isinstance(pixels, torch.Tensor) and isinstance(view, View | Warp):
            return pixels, view
    raise LabelError(f"augment must give (pixels, view), a tensor and a View or a Warp, not {result!r:.80}")


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
