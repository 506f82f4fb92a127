"""Do these pictures and these labels belong together? What `LabeledImages` checks before it trains on them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset
from torchvision.datasets.vision import StandardTransform

from storage import KeyNotFoundError, LabelStore, Status
from tokenlabel.errors import LabelError
from tokenlabel.targets.align import covers_something

NO_ROW = -1


def check_classes(images: Any, store: LabelStore, class_count: int, *, own_classes: bool) -> None:
    """Check that a class number means the same in the model, in the store and, with own_classes, in the dataset.

    Raises:
        LabelError: another number of classes, or the same classes in another order.
    """
    known = store.schema.class_count
    if class_count != known:
        raise LabelError(
            f"the model has {class_count} classes, and the labels in {store.address} are of {known}; make a model of "
            "the labels' classes, and give their number as class_count"
        )
    own = tuple(map(str, _attribute(images, "classes") or ())) if own_classes else ()
    if len(own) not in (0, known):
        raise LabelError(
            f"the dataset has {len(own)} classes, and the labels in {store.address} are of {known}: a class number "
            "does not mean the same in both. Give own_classes=False to train on the annotator's labels alone"
        )
    names = store.schema.class_names or own
    if own and own != names and set(own) == set(names):
        row = next(n for n, (mine, its) in enumerate(zip(own, names, strict=True)) if mine != its)
        raise LabelError(
            f"the dataset's classes are those of the labels in {store.address}, but in another order: class {row} is "
            f"{own[row]!r} in the dataset and {names[row]!r} in the labels. Number the dataset's classes as the labels "
            "do, or give own_classes=False to train on the annotator's labels alone"
        )


def check_indexed(images: Any) -> None:
    """Check that pictures can be drawn by their index.

    Raises:
        LabelError: the dataset has no length: it is a stream.
    """
    if not hasattr(images, "__len__"):
        raise LabelError(
            f"a {type(images).__name__} has no length, but pictures are drawn by their index: give a map-style "
            "dataset, of Hugging Face's without streaming=True; or let a stream meet its labels where its batches are "
            "made, as examples/webdataset_shards.py does"
        )


def labelled_rows(store: LabelStore, keys: Sequence[str], missing: str) -> np.ndarray:
    """The store's row of each key, int64 [n]; NO_ROW where it has no label and `missing` is not "refuse".

    Raises:
        KeyNotFoundError: the store has no row for a key.
        LabelError: a picture has no label, or its row does not say how large it was or which part the label covers.
    """
    rows = np.full(len(keys), NO_ROW, np.int64)
    for n, key in enumerate(keys):
        try:
            rows[n] = store.find(key)
        except KeyNotFoundError:
            if missing == "refuse":
                raise
    status = np.where(rows == NO_ROW, Status.MISSING, store.column("status")[rows])
    unlabelled = np.flatnonzero(status != Status.LABELLED)
    if unlabelled.size and missing == "refuse":
        first = int(unlabelled[0])
        raise LabelError(
            f"{unlabelled.size} of {len(keys)} pictures have no label in {store.address}; the first is "
            f"{keys[first]!r}, {Status(int(status[first])).word}. Finish the labels with `annotate run`, leave out "
            'pictures that cannot be labelled, or give missing="class" to teach these pictures only their class'
        )
    if len(unlabelled) == len(keys):
        raise LabelError(
            f"none of the {len(keys)} pictures has a label in {store.address}; give the store of these pictures, or "
            "finish its labels with `annotate run`"
        )
    rows[unlabelled] = NO_ROW
    labelled = np.flatnonzero(rows != NO_ROW)
    unknown = labelled[~store.column("sizes")[rows[labelled]].all(1)]
    if unknown.size:
        raise LabelError(
            f"{store.address} does not have the sizes of {unknown.size} pictures, the first of them "
            f"{keys[int(unknown[0])]!r}: without them it cannot be checked that these are the pictures that were "
            "labelled. Write the labels again, with the pictures' sizes"
        )
    nowhere = labelled[~covers_something(store.column("boxes")[rows[labelled]])]
    if nowhere.size:
        raise LabelError(
            f"{nowhere.size} labels in {store.address} do not say which part of their picture they cover, the first "
            f"that of {keys[int(nowhere[0])]!r}; run `annotate verify --deep` to see what is damaged"
        )
    return rows


def check_transform(images: Any) -> None:
    """Check that a dataset moves no pixels without their label.

    Raises:
        LabelError: it has a transform of its own.
    """
    if (found := _moving(images)) is not None:
        raise LabelError(
            f"the dataset has a transform of its own ({found}), and the labels are not moved with its pixels: make the "
            "dataset without it, and give augment=transform"
        )


def check_size(index: int, picture: Image.Image, size: Sequence[int]) -> None:
    """Check that a picture has the size (height, width) that it had when it was labelled.

    Raises:
        LabelError: it has another size.
    """
    if (picture.height, picture.width) != tuple(size):
        raise LabelError(
            f"picture {index} has {picture.height}x{picture.width} pixels, but had {size[0]}x{size[1]} when it was "
            "labelled; give the pictures as they were labelled, neither rotated by EXIF nor resized"
        )


# What datasets call that which they do to their pictures.
_TRANSFORMS = (
    *("transform", "transforms", "augment", "augmentation", "augmentations"),
    *("image_transform", "img_transform", "joint_transform", "train_transform", "preprocess"),
    *("aug", "augs", "tfm", "tfms"),
)
# Whose steps and pipelines move pixels, whatever a dataset calls them.
_LIBRARIES = (
    *("torchvision.transforms", "albumentations", "kornia.augmentation"),
    *("timm.data.transforms", "timm.data.auto_augment", "timm.data.random_erasing"),
)


def _moving(images: Any, outer: tuple[Any, ...] = ()) -> str | None:
    """Which attribute of a dataset, or of one inside it, may move pixels; None if none does.

    Args:
        images: the dataset.
        outer: those that it is inside of.
    """
    if any(images is each for each in outer):
        return None
    for name in _TRANSFORMS:
        found = getattr(images, name, None)
        for each in (found, getattr(images, f"_{name}", None)):
            if any(callable(step) and not _is_own_method(step, images) for step in _steps(each)):
                return f"{type(images).__name__}.{name}"
    held: dict[str, Any] = getattr(images, "__dict__", {})
    for name, each in held.items():
        of_targets = "target" in name or "label" in name
        if not of_targets and any(callable(step) and _is_of_a_library(step) for step in _steps(each)):
            return f"{type(images).__name__}.{name}"
    form = getattr(images, "format", None)  # of a Dataset of Hugging Face's
    if isinstance(form, dict) and form.get("type") == "custom":
        return f"{type(images).__name__}.set_transform"
    # What wrappers call the dataset that they wrap; or whatever they call one of torch's.
    inner = [*(getattr(images, name, None) for name in ("dataset", "images", "base", "ds"))]
    inner = [each for each in inner if hasattr(each, "__getitem__") and not hasattr(each, "dtype")]  # no arrays
    inner += [
        *(getattr(images, "datasets", None) or ()),
        *(each for each in held.values() if isinstance(each, Dataset)),
    ]
    outer = *outer, images
    return next((found for each in inner if (found := _moving(each, outer)) is not None), None)


def _steps(found: Any) -> Sequence[Any]:
    if isinstance(found, StandardTransform):  # what torchvision's datasets make of a transform, a target_transform
        found = found.transform
    return found if isinstance(found, list | tuple) else [found]


def _is_of_a_library(step: Any) -> bool:
    return type(step).__module__.startswith(_LIBRARIES)


def _is_own_method(step: Any, images: Any) -> bool:
    """Whether it is a method of the dataset's class, and not one of a pipeline that was given to the dataset."""
    return inspect.ismethod(step) and (step.__self__ is images or step.__self__ is type(images))


def _attribute(images: Any, name: str) -> Any:
    """An attribute of a dataset, or of the one that it is a subset of; None if neither has it."""
    while images is not None:
        if (found := getattr(images, name, None)) is not None:
            return found
        images = getattr(images, "dataset", None)
    return None
