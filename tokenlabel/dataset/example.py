"""What does a trainer get for a picture, and for a batch? Pixels, targets, and the picture's own class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from tokenlabel.targets.token_targets import TokenTargets


class Example(NamedTuple):
    """One training picture, or a batch of them with a leading axis: float32 [3, H, W], targets, and its class."""

    pixels: torch.Tensor
    targets: TokenTargets
    label: torch.Tensor

    def __repr__(self) -> str:
        # What a loader or a test makes of it may hold numbers in place of tensors.
        pixels, label = (list(each.shape) if hasattr(each, "shape") else each for each in (self.pixels, self.label))
        return f"Example(pixels {pixels}, {self.targets!r}, label {label})"


def collate(examples: Sequence[Example]) -> Example:
    """Examples as a batch: the `collate_fn` of a DataLoader over `LabeledImages`.

    Example:
        >>> targets = TokenTargets(torch.zeros(5, 8, dtype=torch.int32), torch.zeros(5, 8), torch.zeros(5, dtype=bool))
        >>> collate([Example(torch.zeros(3, 64, 64), targets, torch.tensor(7))] * 2)
        Example(pixels [2, 3, 64, 64], TokenTargets(pictures=2, tokens=4, classes=8), label [2])
    """
    return Example(
        torch.stack([example.pixels for example in examples]),
        TokenTargets.stack([example.targets for example in examples]),
        torch.stack([example.label for example in examples]),
    )
