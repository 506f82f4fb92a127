"""How are training pictures joined with labels? By key: any dataset of pictures, and a store."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset, Subset
from torchvision.datasets import DatasetFolder

from storage import LabelMap, LabelStore, open_store
from tokenlabel.dataset.epoch import Draw, Epoch
from tokenlabel.dataset.example import Example, KeyedExample
from tokenlabel.dataset.matching import (
    NO_ROW,
    check_classes,
    check_indexed,
    check_size,
    check_transform,
    labelled_rows,
)
from tokenlabel.dataset.own_targets import check_target, check_targets, own_targets
from tokenlabel.dataset.sample import Field, SampleForm, keys_of
from tokenlabel.dataset.views import Views
from tokenlabel.errors import LabelError
from tokenlabel.geometry.view import View
from tokenlabel.geometry.warp import Warp
from tokenlabel.targets.reading import say_what_is_slow
from tokenlabel.targets.rule import BLENDED, Rule
from tokenlabel.targets.sparse import check_grid
from tokenlabel.targets.token_targets import TokenTargets


class LabeledImages(Dataset[Example]):
    """Training pictures with the labels of exactly the pixels that they show.

    What an augmentation does to a picture decides what its label says. Its randomness is a pure function of (seed,
    epoch, index, draw), independent of batches and of the loader's workers. An index that is drawn again before the
    next `set_epoch` has the next draw, and so another crop; `EpochSampler` fixes which of them is in which batch.

    Args:
        images: any map-style dataset, without a transform of its own. It gives pairs (picture, class), or samples of
            any other form if `image` says where the picture is. Pictures are as they were labelled: PIL, numpy uint8
            [H, W, 3], a tensor uint8 [3, H, W], or what Hugging Face's rows hold without decoding. Classes are numbers,
            names of the store's classes, or None.
        store: a label store, or its address.
        image, label, key: where a sample has its picture, its class and its key in the store: the name of a field, a
            position, or a function of the sample. Without `label`, pictures have no class. A key that is not a column
            of the dataset is read from all samples at once, which reads all pictures: better give `keys`.
        keys: the store's key of each picture; by default those of a torchvision folder, see `folder_keys`.
        augment: what makes training pictures: `Crops`; a pipeline of torchvision's or timm's, or a list of its steps,
            which is traced as `Traced` says; a function (picture, generator) -> (pixels, view), an `Augmentation`; or
            `Views`, for several of each.
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
        with_keys: whether examples also say the key and the index of their picture: `KeyedExample`.

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
        image: Field | None = None,
        label: Field | None = None,
        key: Field | None = None,
        keys: Sequence[str] | None = None,
        augment: Any,
        tokens: tuple[int, int],
        class_count: int,
        own_classes: bool = True,
        compare_targets: bool = True,
        rule: Rule = BLENDED,
        missing: Literal["refuse", "class"] = "refuse",
        keep: int | None = None,
        seed: int = 0,
        with_keys: bool = False,
    ) -> None:
        self.images = images
        self.store = store if isinstance(store, LabelStore) else open_store(store)
        if isinstance(rule, type) or not isinstance(rule, Rule):
            raise LabelError(f"rule must be tokenlabel.BLENDED, a tokenlabel.Paper(…) or another rule, not {rule!r}")
        self.tokens, self.keep, self.seed = tokens, rule.default_keep if keep is None else keep, seed
        self._own_classes, self._rule = own_classes, rule
        self._views = augment if isinstance(augment, Views) else Views(augment)
        self._single, self._with_keys = self._views is not augment, with_keys
        for grid in self._views.grids(tokens):
            check_grid(grid, self.keep)
        check_indexed(images)
        check_transform(images)
        self._looked_in = -1
        if keys is not None and key is not None:
            raise LabelError("keys and key both say the keys of the pictures; give only one of them")
        if key is not None:
            keys = keys_of(images, key)
        if keys is None:
            if not isinstance(images, DatasetFolder):
                raise LabelError(
                    f"the keys of a {type(images).__name__}'s pictures are not known: give keys=[…], each picture's "
                    "path relative to the folder that was labelled, or key=, where they are in its samples"
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
        self._form = SampleForm(image, label, self.store.schema.class_names or getattr(images, "classes", None) or ())
        if self.store.schema.scores != "probability" and not rule.reads_logits:
            raise LabelError(
                f"the labels in {self.store.address} are logits, as another tool wrote them: train on them with "
                "rule=Paper(), or label the pictures with `annotate run`"
            )
        self._rows = labelled_rows(self.store, keys, missing)
        self._keys, self._compare_targets = keys, own_classes and compare_targets
        if self._compare_targets:
            check_targets(own_targets(images, label), self.store, self._rows, keys)
        self.missing_count = int((self._rows == NO_ROW).sum())
        self._epoch = Epoch(len(images))
        say_what_is_slow()  # here, so that not each worker says it

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
                drawn pictures of epoch 0; or another part of the program has set a later one, which was not drawn in.
        """
        self._epoch.begin(epoch)

    def subset(self, indices: Sequence[int]) -> LabeledImages:
        """The pictures at these indices. Unlike torch's `Subset` of this dataset, it is told the epoch by trainers."""
        part = copy.copy(self)
        part.images, part._rows = Subset(self.images, indices), self._rows[list(indices)]
        part._keys = [self._keys[index] for index in indices]
        part.missing_count = int((part._rows == NO_ROW).sum())
        part._epoch, part._looked_in = Epoch(len(indices)), -1
        return part

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        """One training picture and its targets, an `Example`; of `Views` a tuple of them. -1 is the last.

        Raises:
            IndexError: there are fewer pictures.
            LabelError: a sample has a form that is not known; the picture has another size than the one that was
                labelled, another class than the store knows, or one that is out of range.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Many at once, with one read of the store: what DataLoader calls for a batch."""
        within = range(len(self))
        indices = [n if isinstance(n, Draw) and n in within else within[n] for n in indices]
        draws = self._epoch.draws(indices)
        if draws and draws[0][0] != self._looked_in:  # once an epoch: a transform may have been set since
            check_transform(self.images)
            self._looked_in = draws[0][0]
        rows = self._rows[indices].tolist()
        labels = self.store.read([row for row in rows if row != NO_ROW])
        sizes = iter(labels.sizes.tolist())
        shown, classes = [], []
        for index, row, draw in zip(indices, rows, draws, strict=True):
            sample = self.images[index]
            picture = self._form.picture(sample, index)
            if row != NO_ROW:
                check_size(index, picture, next(sizes))
            rng = np.random.default_rng([self.seed, draw[0], index, draw[1]])
            picture = picture if picture.mode == "RGB" else picture.convert("RGB")  # which would copy it
            shown.append([_shown(augment(picture, rng)) for augment in self._views.augmentations])
            classes.append(torch.tensor(self._class(sample, index, row)))
            del sample, picture  # to hold it while the next is decoded takes 0.1 ms more: the system gives new memory
        grids = self._views.grids(self.tokens)
        views = [
            self._targets(labels, [each[n][1] for each in shown], rows, classes, grid) for n, grid in enumerate(grids)
        ]
        examples = [
            tuple(Example(pixels, targets[n], label) for (pixels, _), targets in zip(shown[n], views, strict=True))
            for n, label in enumerate(classes)
        ]
        if self._with_keys:
            named = zip(examples, indices, strict=True)
            keyed = [tuple(KeyedExample(*each, self._keys[n], int(n)) for each in group) for group, n in named]
            return [group[0] for group in keyed] if self._single else keyed
        return [group[0] for group in examples] if self._single else examples

    def _targets(
        self, labels: LabelMap, views: list[Any], rows: list[int], classes: list[torch.Tensor], grid: tuple[int, int]
    ) -> list[TokenTargets]:
        """The targets of one view of each picture; of those without a label their class."""
        labelled = [view for view, row in zip(views, rows, strict=True) if row != NO_ROW]
        found: Iterator[TokenTargets] = iter(())
        if labelled:
            count = self.store.schema.class_count
            targets = self._rule.targets(labels, labelled, grid, class_count=count, keep=self.keep)
            found = iter([targets[n] for n in range(len(labelled))])
        pairs = zip(rows, classes, strict=True)
        return [next(found) if row != NO_ROW else self._only_class(label, grid) for row, label in pairs]

    def _only_class(self, label: torch.Tensor, grid: tuple[int, int]) -> TokenTargets:
        """The targets of a picture without a label: as a whole its own class, and its tokens outside."""
        positions = 1 + grid[0] * grid[1]
        classes = torch.zeros(positions, self.keep, dtype=torch.int32)
        probabilities = torch.zeros(positions, self.keep)
        outside = torch.ones(positions, dtype=torch.bool)
        if label >= 0:
            classes[0, 0], probabilities[0, 0], outside[0] = label, 1.0, False
        return TokenTargets(classes, probabilities, outside)

    def _class(self, sample: Any, index: int, row: int) -> int:
        """The class number of a sample; -1 if it has none, or if those of the dataset are left out."""
        label = self._form.class_number(sample, index) if self._own_classes else None
        if label is None:
            return -1
        if not 0 <= label < self.store.schema.class_count:
            raise LabelError(
                f"picture {index} has class {label}, but the labels in {self.store.address} are of "
                f"{self.store.schema.class_count} classes; "
                + ("for a picture without a class, label=function gives None; " if label < 0 else "")
                + "if the dataset has other classes, give own_classes=False"
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
    raise LabelError(
        f"augment must give (pixels, view), a tensor and a View or a Warp, not {result!r:.80}; for several views of a "
        "picture give Views(…)"
    )


def folder_keys(images: DatasetFolder) -> list[str]:
    """The keys of a torchvision folder's pictures, as `annotate run` gives them to the same folder.

    Example:
        >>> import tempfile
        >>> from PIL import Image
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
