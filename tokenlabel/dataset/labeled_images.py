"""How are training pictures joined with labels? By key: any dataset of pictures, and a store."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision.datasets import DatasetFolder

from storage import LabelMap, LabelStore, open_store
from tokenlabel.dataset.epoch import Draw, Epoch
from tokenlabel.dataset.example import Example
from tokenlabel.dataset.matching import NO_ROW, check_classes, check_pipelines, check_size, labelled_rows
from tokenlabel.dataset.own_targets import check_target, check_targets, own_targets
from tokenlabel.errors import LabelError
from tokenlabel.geometry.view import View
from tokenlabel.geometry.warp import Warp
from tokenlabel.pipelines.crops import Augmentation
from tokenlabel.targets.rule import BLENDED, Rule
from tokenlabel.targets.sparse import check_grid
from tokenlabel.targets.token_targets import TokenTargets


class LabeledImages(Dataset[Example]):
    """Training pictures with the labels of exactly the pixels that they show.

    What an augmentation does to a picture decides what its label says. Its randomness is a pure function of (seed,
    epoch, index, draw), independent of batches and of the loader's workers. An index that is drawn again before the
    next `set_epoch` has the next draw, and so another crop; `EpochSampler` fixes which of them is in which batch.

    Args:
        images: any map-style dataset that gives (PIL picture, class number), the picture as it was labelled: one of
            torchvision's must have no transform of its own.
        store: a label store, or its address.
        keys: the store's key of each picture; by default those of a torchvision folder, see `folder_keys`.
        augment: what makes training pictures: `Crops`, or a pipeline of torchvision's or timm's, `Traced`.
        tokens: rows and columns of the model's tokens.
        class_count: of the model; the store must have as many.
        own_classes: whether the class numbers that `images` gives are those of the store. False if they number other
            classes: then every example's label is -1, and only the annotator's labels are taught.
        compare_targets: whether each picture's class must be the one that the store knows of it, if it knows one. False
            if pictures have got new classes since they were labelled.
        rule: how labels become targets: `BLENDED` averages probabilities; a `Paper` repeats the published method, and
            reads logits too; or your own, a `Rule`.
        missing: what is done with pictures that have no label: "refuse" raises; "class" teaches the whole picture its
            own class, and its tokens nothing. `missing_count` is their number.
        keep: classes kept for each token; by default 8 with `BLENDED`, and with a `Paper` up to 64, so that none is
            lost.
        seed: of all randomness.

    Raises:
        KeyNotFoundError: the store has no row for a key.
        LabelError: a picture's row has no label, or does not say how large the picture was, or which part of it the
            label covers; the number of keys is not that of pictures; the store has another number of classes than the
            model, or other classes than the dataset; its scores are logits, which the rule does not read; the dataset
            has a transform; a picture has another class in the dataset than in the store; `tokens` is not (rows,
            columns).
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
        compare_targets: bool = True,
        rule: Rule = BLENDED,
        missing: Literal["refuse", "class"] = "refuse",
        keep: int | None = None,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.store = store if isinstance(store, LabelStore) else open_store(store)
        if isinstance(rule, type) or not isinstance(rule, Rule):
            raise LabelError(f"rule must be tokenlabel.BLENDED, a tokenlabel.Paper(…) or another rule, not {rule!r}")
        self.tokens, self.keep, self.seed = tokens, rule.default_keep if keep is None else keep, seed
        self._augment, self._own_classes, self._rule = augment, own_classes, rule
        check_grid(tokens, self.keep)
        check_pipelines(images, augment)
        if keys is None:
            if not isinstance(images, DatasetFolder):
                raise LabelError(
                    f"the keys of a {type(images).__name__}'s pictures are not known: give keys=[…], each picture's "
                    "path relative to the folder that was labelled"
                )
            keys = folder_keys(images)
        if len(keys) != len(images):
            raise LabelError(f"{len(images)} pictures were given with {len(keys)} keys; give one key for each")
        if missing not in ("refuse", "class"):
            raise LabelError(f"missing must be 'refuse' or 'class', not {missing!r}")
        if missing == "class" and not own_classes:
            raise LabelError(
                'missing="class" teaches a picture its own class, but own_classes=False ignores these classes; give '
                "only one of the two"
            )
        check_classes(images, self.store, class_count, own_classes=own_classes)
        if self.store.schema.scores != "probability" and not rule.reads_logits:
            raise LabelError(
                f"the labels in {self.store.address} are logits, as another tool wrote them: train on them with "
                "rule=Paper(), or label the pictures with `annotate run`"
            )
        self._rows = labelled_rows(self.store, keys, missing)
        self._keys, self._compare_targets = keys, own_classes and compare_targets
        if self._compare_targets:
            check_targets(own_targets(images), self.store, self._rows, keys)
        self.missing_count = int((self._rows == NO_ROW).sum())
        self._epoch = Epoch(len(images))

    @property
    def epoch(self) -> int:
        """The epoch that random numbers are drawn of; 0 until it is set."""
        return self._epoch.number

    @property
    def process(self) -> tuple[int, int]:
        """The rank of this process, and the number of those that train together."""
        return self._epoch.process()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: other random numbers. Call it before each pass over the data, before its iterator is made.

        Raises:
            LabelError: the epoch is not 0 or more, or comes too late: a training was resumed, and workers have already
                drawn pictures of epoch 0.
        """
        self._epoch.begin(epoch)

    def subset(self, indices: Sequence[int]) -> LabeledImages:
        """The pictures at these indices. Unlike torch's `Subset` of this dataset, it is told the epoch by trainers."""
        part = copy.copy(self)
        part.images, part._rows = Subset(self.images, indices), self._rows[list(indices)]
        part._keys = [self._keys[index] for index in indices]
        part.missing_count = int((part._rows == NO_ROW).sum())
        part._epoch = Epoch(len(indices))
        return part

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        """One training picture and its targets; -1 is the last.

        Raises:
            IndexError: there are fewer pictures.
            LabelError: the picture has another size than the one that was labelled, or its class number is out of
                range.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Example]:
        """Many at once, with one read of the store: what DataLoader calls for a batch."""
        within = range(len(self))
        indices = [n if isinstance(n, Draw) and n in within else within[n] for n in indices]
        draws = self._epoch.draws(indices)
        rows = self._rows[indices]
        labels = self.store.read(rows[rows != NO_ROW])
        sizes = iter(labels.sizes.tolist())
        views, pixels, classes = [], [], []
        for index, row, draw in zip(indices, rows.tolist(), draws, strict=True):
            picture, label = self.images[index]
            if not isinstance(picture, Image.Image):
                raise LabelError(
                    f"picture {index} is a {type(picture).__name__}, but must be a PIL picture, as it was labelled; "
                    "put transforms, such as ToTensor, into augment=Traced([…])"
                )
            if row != NO_ROW:
                check_size(index, picture, next(sizes))
            rng = np.random.default_rng([self.seed, draw[0], index, draw[1]])
            shown, view = _shown(self._augment(picture.convert("RGB"), rng))
            pixels.append(shown)
            classes.append(torch.tensor(self._checked(index, label, row) if self._own_classes else -1))
            if row != NO_ROW:
                views.append(view)
        found = iter(self._targets(labels, views))
        targets = [
            next(found) if row != NO_ROW else self._only_class(label)
            for row, label in zip(rows.tolist(), classes, strict=True)
        ]
        return [Example(*parts) for parts in zip(pixels, targets, classes, strict=True)]

    def _targets(self, labels: LabelMap, views: list[Any]) -> list[TokenTargets]:
        if not views:
            return []
        count = self.store.schema.class_count
        targets = self._rule.targets(labels, views, self.tokens, class_count=count, keep=self.keep)
        return [targets[n] for n in range(len(views))]

    def _only_class(self, label: torch.Tensor) -> TokenTargets:
        """The targets of a picture without a label: as a whole its own class, and its tokens outside."""
        positions = 1 + self.tokens[0] * self.tokens[1]
        classes = torch.zeros(positions, self.keep, dtype=torch.int32)
        probabilities = torch.zeros(positions, self.keep)
        outside = torch.ones(positions, dtype=torch.bool)
        classes[0, 0], probabilities[0, 0], outside[0] = label, 1.0, False
        return TokenTargets(classes, probabilities, outside)

    def _checked(self, index: int, label: int, row: int) -> int:
        if not 0 <= label < self.store.schema.class_count:
            raise LabelError(
                f"picture {index} has class {label}, but the labels in {self.store.address} are of "
                f"{self.store.schema.class_count} classes; if the dataset has other classes, give own_classes=False"
            )
        if self._compare_targets and row != NO_ROW:
            check_target(self._keys[index], label, self.store, row)
        return label

    def __repr__(self) -> str:
        where, (rows, columns) = str(self.store.address), self.tokens
        return f"LabeledImages(pictures={len(self)}, store={where!r}, tokens={rows}x{columns}, rule={self._rule!r})"


def _shown(result: Any) -> tuple[torch.Tensor, View | Warp]:
    if isinstance(result, tuple) and len(result) == 2:
        pixels, view = result
        if isinstance(pixels, torch.Tensor) and isinstance(view, View | Warp):
            return pixels, view
    raise LabelError(f"augment must give (pixels, view), a tensor and a View or a Warp, not {result!r:.80}")


def folder_keys(images: DatasetFolder) -> list[str]:
    """The keys of a torchvision folder's pictures, as `annotate run` gives them to the same folder.

    Example:
        >>> import tempfile
        >>> from torchvision.datasets import ImageFolder
        >>> folder = tempfile.TemporaryDirectory()
        >>> (Path(folder.name) / "cat").mkdir()
        >>> Image.new("RGB", (8, 8)).save(f"{folder.name}/cat/1.png")
        >>> folder_keys(ImageFolder(folder.name))
        ['cat/1.png']
        >>> folder.cleanup()
    """
    root = Path(images.root)
    return [Path(path).relative_to(root).as_posix() for path, _ in images.samples]
