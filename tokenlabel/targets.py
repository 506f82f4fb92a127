"""What shall a batch of training pictures be taught? A few classes with probabilities, as a whole and per token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from storage import LabelMap
from tokenlabel.align import TokenScores, align
from tokenlabel.view import View


@dataclass(frozen=True, slots=True, eq=False)
class TokenTargets:
    """The targets of a batch, sparse from the store to the loss.

    Place 0 is the training picture as a whole, places 1… are its tokens, row by row.

    classes:       int64 [b, 1 + t, m]
    probabilities: float32 [b, 1 + t, m], 0 where a place has fewer than m classes
    outside:       bool [b, 1 + t], places that look where the label map does not reach

    All three have no leading axis for a single picture.
    """

    classes: torch.Tensor
    probabilities: torch.Tensor
    outside: torch.Tensor

    @property
    def remainder(self) -> torch.Tensor:
        """The probability of all classes that are not named: float32 [b, 1 + t] in [0, 1]."""
        return (1 - self.probabilities.sum(-1)).clamp(0, 1)

    def __getitem__(self, index: int | slice) -> TokenTargets:
        """The targets of one picture, or of some."""
        return self._each(lambda tensor: tensor[index])

    def __len__(self) -> int:
        """Pictures in the batch."""
        return len(self.outside)

    @classmethod
    def stack(cls, targets: Sequence[TokenTargets]) -> TokenTargets:
        """Targets of single pictures as a batch."""
        return cls(*(torch.stack([getattr(one, field.name) for one in targets]) for field in fields(cls)))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> TokenTargets:
        """The same on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TokenTargets:
        """The same in page-locked memory; DataLoader calls it."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> TokenTargets:
        return TokenTargets(change(self.classes), change(self.probabilities), change(self.outside))


def token_targets(labels: LabelMap, views: Sequence[View], tokens: tuple[int, int], *, keep: int = 8) -> TokenTargets:
    """The targets of training pictures that were cut from labelled source pictures.

    Args:
        labels: of b source pictures, [b, h, w, k].
        views: how each training picture was cut.
        tokens: rows and columns of tokens of the model.
        keep: classes kept at each place, the likeliest; what the others had joins the remainder.

    Raises:
        LabelError: a picture has no label.
    """
    count, places = len(views), 1 + tokens[0] * tokens[1]
    classes = np.zeros((count, places, keep), np.int64)
    probabilities = np.zeros((count, places, keep), np.float32)
    outside = np.zeros((count, places), bool)
    for n, view in enumerate(views):
        label, start = labels[n], 0
        for grid in ((1, 1), tokens):
            stop = start + grid[0] * grid[1]
            scores = align(label, view, grid)
            best, mass = _likeliest(scores, keep)
            classes[n, start:stop, : best.shape[1]] = best
            probabilities[n, start:stop, : best.shape[1]] = mass
            outside[n, start:stop] = scores.outside.ravel()
            start = stop
    return TokenTargets(torch.from_numpy(classes), torch.from_numpy(probabilities), torch.from_numpy(outside))


def _likeliest(scores: TokenScores, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes and probabilities [places, at most keep], likeliest first."""
    flat = scores.scores.reshape(-1, len(scores.classes))
    order = np.argsort(-flat, axis=1, kind="stable")[:, :keep]
    return scores.classes[order], np.take_along_axis(flat, order, axis=1)
