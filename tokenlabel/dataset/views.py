"""How are several training pictures made of one? By as many augmentations, from one read of its label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenlabel.errors import LabelError
from tokenlabel.pipelines.augmentation import as_augmentation
from tokenlabel.pipelines.crops import Augmentation


@dataclass(frozen=True, init=False)
class Views:
    """Several augmentations of each picture: the `augment` of `LabeledImages` for multi-crop and contrastive training.

    The dataset then gives a tuple of examples for each index, one a view, and `collate` a tuple of batches.

    Args:
        augmentations: one for each view, each as `LabeledImages` takes it; the first draws what it would draw alone.
        tokens: rows and columns of the model's tokens in each view, where they are not those of the dataset.

    Raises:
        LabelError: no augmentation; another number of grids.

    Example:
        views = Views(Crops((224, 224)), Crops((224, 224)), Crops((96, 96)), tokens=[(14, 14), (14, 14), (6, 6)])
    """

    augmentations: tuple[Augmentation, ...]
    tokens: tuple[tuple[int, int], ...] | None = field(default=None)

    def __init__(self, *augmentations: Any, tokens: Sequence[tuple[int, int]] | None = None) -> None:
        if not augmentations or (tokens is not None and len(tokens) != len(augmentations)):
            raise LabelError(
                f"Views takes an augmentation for each view, and tokens for each or for none, not {len(augmentations)} "
                f"with {None if tokens is None else len(tokens)} grids"
            )
        object.__setattr__(self, "augmentations", tuple(map(as_augmentation, augmentations)))
        object.__setattr__(self, "tokens", None if tokens is None else tuple(tokens))

    def grids(self, tokens: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Rows and columns of tokens in each view, where those of the dataset are these."""
        return self.tokens or (tokens,) * len(self.augmentations)

    def __repr__(self) -> str:
        return f"Views({', '.join(map(repr, self.augmentations))})"
