"""Are the classes that a dataset gives its pictures those that the store knows of them? Compared wherever both are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Subset

from storage import LabelStore
from tokenlabel.dataset.sample import Field, column
from tokenlabel.errors import LabelError

_NAMED = 3  # keys in an error
_REMEDY = (
    "Either the keys are in another order than the pictures, or the classes are numbered in another way than when "
    "the pictures were labelled. If the pictures have got new classes since, give compare_targets=False; if their "
    "numbers are those of other classes, own_classes=False"
)


def own_targets(images: Any, label: Field | None = None) -> np.ndarray | None:
    """The class number of each picture, int64 [n], as a dataset says without reading pictures; None if it does not.

    Args:
        images: the dataset.
        label: where a sample has its class: perhaps a column.
    """
    if isinstance(images, Subset):
        inner = own_targets(images.dataset, label)
        return None if inner is None else inner[list(images.indices)]
    if isinstance(images, ConcatDataset):
        parts = [own_targets(part, label) for part in images.datasets]
        return None if any(part is None for part in parts) else np.concatenate([*filter(_known, parts)])
    if getattr(images, "target_transform", None) is not None:
        return None
    found: Any = column(images, label)
    if found is None and (label is None or isinstance(label, int)):
        found = _held(images)
    try:
        found = np.asarray(found)
    except (TypeError, ValueError):
        return None
    return found.astype(np.int64) if found.dtype.kind in "iu" and found.shape == (len(images),) else None


def _held(images: Any) -> Any:
    """The classes that torchvision's and timm's datasets hold; None if it holds none."""
    reader = getattr(images, "reader", None)  # of timm's
    samples = getattr(reader, "samples", None)
    for holder in (images, reader):
        if (found := getattr(holder, "targets", None)) is not None:
            return found
    if isinstance(samples, list) and all(isinstance(each, tuple) and len(each) == 2 for each in samples):
        return [target for _, target in samples]
    if any(kind.__module__.startswith("torchvision.") for kind in type(images).__mro__):
        return getattr(images, "labels", getattr(images, "_labels", None))
    return None


def _known(part: np.ndarray | None) -> bool:
    return part is not None


def check_targets(own: np.ndarray | None, store: LabelStore, rows: np.ndarray, keys: Sequence[str]) -> None:
    """Check the classes of all pictures at once, where both the dataset and the store know them.

    Args:
        own: of `own_targets`.
        store: the labels.
        rows: the store's row of each picture, negative where it has none.
        keys: of each picture.

    Raises:
        LabelError: a picture has another class; the first of these keys are named.
    """
    if own is None:
        return
    known = np.where(rows >= 0, store.targets[rows], -1)
    differs = np.flatnonzero((known >= 0) & (own != known))
    if differs.size:
        first = ", ".join(f"{keys[n]!r} has class {own[n]}, not {known[n]}" for n in differs[:_NAMED].tolist())
        more = f", and {differs.size - _NAMED} more" if differs.size > _NAMED else ""
        raise LabelError(
            f"{differs.size} of {len(keys)} pictures have another class in the dataset than in {store.address}: "
            f"{first}{more}. {_REMEDY}"
        )


def check_target(key: str, label: int, store: LabelStore, row: int) -> None:
    """Check the class of one picture as it is drawn.

    Raises:
        LabelError: it has another class in the store.
    """
    known = int(store.targets[row])
    if known not in (-1, label):
        raise LabelError(
            f"the picture {key!r} has class {label} in the dataset, but {known} in {store.address}. {_REMEDY}"
        )
