"""What is a batch of training pictures taught? A few classes with probabilities, as a whole and per token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch

from storage import LabelMap
from storage.errors import explained
from tokenlabel.errors import LabelError
from tokenlabel.geometry.view import View
from tokenlabel.geometry.warp import Warp
from tokenlabel.targets.dense import spread
from tokenlabel.targets.readable import can_be_read
from tokenlabel.targets.reading import sparse_targets

# Of float32 sums. A smaller remainder counts as 0, because a high temperature would make it large.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class TokenTargets:
    """The targets of a batch, sparse from the store to the loss.

    Position 0 is the training picture as a whole, positions 1… are its tokens, row by row.

    classes:       int32 [b, 1 + t, m], in no order that matters; after mixing a class may be named more than once
    probabilities: float32 [b, 1 + t, m]; 0 marks an entry that names nothing
    outside:       bool [b, 1 + t], positions that lie for the most part beyond the label map; the loss leaves them out

    For a single picture, all three lack the leading axis.

    Each position stands for a distribution over all C classes: with n distinct classes named and r the remainder,

        y_c = Σ p of the entries that name c        y_c = r / (C − n) for each class that is not named

    Where all C are named, the remainder is left out. The methods below give new targets, which stand for exactly what
    their formula makes of these distributions. Those that need the classes not named ask for `class_count`, C.

    Raises:
        LabelError: the shapes of the tensors do not match.
    """

    classes: torch.Tensor
    probabilities: torch.Tensor
    outside: torch.Tensor

    def __post_init__(self) -> None:
        """Check that the shapes match."""
        shape = self.classes.shape
        if self.probabilities.shape != shape or self.outside.shape != shape[:-1]:
            raise LabelError(
                f"targets are classes [b, 1 + t, m], probabilities of the same shape and outside [b, 1 + t], not "
                f"{list(shape)}, {list(self.probabilities.shape)} and {list(self.outside.shape)}"
            )

    @property
    def remainder(self) -> torch.Tensor:
        """The probability of all classes that are not named: float32 [b, 1 + t] in [0, 1]. Below 1e-6 it is 0."""
        left = 1 - self.probabilities.sum(-1)
        return torch.where(left > _ROUNDING, left, 0)

    @property
    def distinct(self) -> torch.Tensor:
        """Entries that are the first of their position to name their class: bool [b, 1 + t, m]."""
        named = self.probabilities > 0
        same = self.classes[..., :, None] == self.classes[..., None, :]
        earlier = torch.ones(same.shape[-2:], dtype=torch.bool, device=same.device).tril(-1)
        return named & ~(same & named[..., None, :] & earlier).any(-1)

    def probability_of_unnamed(self, class_count: int, *, distinct: torch.Tensor | None = None) -> torch.Tensor:
        """The probability of each single class that is not named: float32 [b, 1 + t].

        Args:
            class_count: C.
            distinct: `distinct` of these targets, if the caller has it already.

        Raises:
            LabelError: the targets name a class number of C or more; not checked on a GPU, which would have to wait.
        """
        self._refuse_beyond(class_count)
        others = class_count - (self.distinct if distinct is None else distinct).sum(-1)
        return torch.where(others > 0, self.remainder / others.clamp(min=1), 0)

    def dense(self, class_count: int) -> torch.Tensor:
        """The distributions over all classes, float32 [b, 1 + t, C]; leave out positions that are `outside`."""
        return spread(self.classes, self.probabilities, self.probability_of_unnamed(class_count), class_count)

    def probability_of(self, label: torch.Tensor, *, class_count: int) -> torch.Tensor:
        """The probability of one class of each picture, int64 [b], at all its positions: float32 [b, 1 + t]."""
        names = self._names(self._checked(label, class_count))
        return torch.where(
            names.any(-1), (self.probabilities * names).sum(-1), self.probability_of_unnamed(class_count)
        )

    def renormalised(self) -> TokenTargets:
        """Drop the remainder: y_c / Σ y over the named classes. A position that names no class becomes outside."""
        total = self.probabilities.sum(-1)
        whole = torch.where(total > 0, total, 1)[..., None]
        return TokenTargets(self.classes, self.probabilities / whole, self.outside | (total <= 0))

    def tempered(self, temperature: float, *, class_count: int) -> TokenTargets:
        """Flatter above a temperature of 1, sharper below it: y_c^(1/T) / Σ y^(1/T), over all classes.

        Raises:
            LabelError: the temperature is not above 0.
        """
        if not temperature > 0:
            raise LabelError(f"a temperature must be above 0, not {temperature}; 1 leaves the targets as they are")
        # (p / p_max)^(1/T): a low temperature neither overflows nor underflows float32.
        first = self.distinct
        share = self.probability_of_unnamed(class_count, distinct=first)
        summed = torch.where(first, self._summed(), 0)
        largest = torch.maximum(summed.amax(-1), share)
        named = (summed / largest[..., None]) ** (1 / temperature)
        other = torch.where(share > 0, (share / largest) ** (1 / temperature), 0)
        total = named.sum(-1) + (class_count - first.sum(-1)) * other
        # A class stays named, however small its probability: it must not join the remainder.
        left = (named / total[..., None]).clamp(min=torch.finfo(named.dtype).tiny)
        return TokenTargets(self.classes, torch.where(first, left, 0), self.outside)

    def smoothed(self, smoothing: float, *, class_count: int) -> TokenTargets:
        """Label smoothing that sums to 1: (1 − s) y_c + s / C. What classes not named receive joins the remainder.

        Raises:
            LabelError: the smoothing is not in [0, 1].
        """
        if not 0 <= smoothing <= 1:
            raise LabelError(f"smoothing must be a fraction in [0, 1], not {smoothing}; 0 changes nothing")
        self._refuse_beyond(class_count)
        even = self.distinct * (smoothing / class_count)
        return TokenTargets(self.classes, (1 - smoothing) * self.probabilities + even, self.outside)

    def blend_labels(
        self, label: torch.Tensor, *, class_count: int, image_weight: float = 1.0, token_weight: float = 1.0
    ) -> TokenTargets:
        """The class of each picture mixed in: w y_c + (1 − w) [c is the class], as one more entry at each position.

        Args:
            label: int64 [b], class numbers.
            class_count: C.
            image_weight: the annotator's weight w in the picture as a whole, in [0, 1]. 0: the class alone.
            token_weight: its weight in each token. Positions outside stay outside.

        Raises:
            LabelError: a weight is not in [0, 1]; the number of class numbers is not that of pictures, or one is out of
                range.
        """
        if not (0 <= image_weight <= 1 and 0 <= token_weight <= 1):
            raise LabelError(f"the annotator's weights must be in [0, 1], not {image_weight} and {token_weight}")
        label = self._checked(label, class_count)
        weight = torch.full_like(self.probabilities[..., 0], token_weight)
        weight[..., 0] = image_weight
        # A class that the targets do not name has a part of the remainder: the new entry must include it.
        before = torch.where(self._names(label).any(-1), 0, self.probability_of_unnamed(class_count))
        truth = torch.where(weight < 1, weight * before + (1 - weight), 0)
        named = label[..., None].expand_as(truth).to(self.classes.dtype)
        return TokenTargets(
            torch.cat([self.classes, named[..., None]], -1),
            torch.cat([self.probabilities * weight[..., None], truth[..., None]], -1),
            self.outside,
        )

    def agreeing(self, label: torch.Tensor, *, threshold: float, class_count: int) -> TokenTargets:
        """Only tokens that agree with the picture's class: those that give it less than the threshold become outside.

        Args:
            label: int64 [b], class numbers.
            threshold: a probability. 0 keeps all tokens.
            class_count: C.
        """
        doubtful = self.probability_of(label, class_count=class_count) < threshold
        doubtful[..., 0] = False
        return TokenTargets(self.classes, self.probabilities, self.outside | doubtful)

    def filled(self, label: torch.Tensor | None = None) -> TokenTargets:
        """Give positions outside, which the loss would ignore, the target of the whole picture.

        Args:
            label: int64 [b], the class of each picture. Without it, tokens outside get the target of position 0, and
                stay outside if that is outside itself.
        """
        if label is None:
            classes, probabilities, gone = (
                self.classes[..., :1, :],
                self.probabilities[..., :1, :],
                self.outside[..., :1],
            )
        else:
            label = self._checked(label).to(self.classes.dtype)
            classes = label[..., None, None].expand_as(self.classes)
            probabilities = torch.zeros_like(self.probabilities)
            probabilities[..., 0] = 1
            gone = torch.zeros_like(self.outside)
        at = self.outside[..., None]
        return TokenTargets(
            torch.where(at, classes, self.classes),
            torch.where(at, probabilities, self.probabilities),
            self.outside & gone,
        )

    @property
    def nbytes(self) -> int:
        """Size of the three tensors, bytes: what moves to the device."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def __getitem__(self, index: int | slice | torch.Tensor) -> TokenTargets:
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

    def __repr__(self) -> str:
        *batch, positions, m = self.classes.shape
        pictures = f"pictures={batch[0]}, " if batch else ""
        device = "" if self.classes.device.type == "cpu" else f", device='{self.classes.device}'"
        return f"TokenTargets({pictures}tokens={positions - 1}, classes={m}{device})"

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> TokenTargets:
        return TokenTargets(change(self.classes), change(self.probabilities), change(self.outside))

    def _names(self, label: torch.Tensor) -> torch.Tensor:
        """Which entries name the class of their picture."""
        return (self.classes == label[..., None, None]) & (self.probabilities > 0)

    def _summed(self) -> torch.Tensor:
        """For each entry, the sum over all entries of its position that name the same class."""
        same = self.classes[..., :, None] == self.classes[..., None, :]
        return (same * self.probabilities[..., None, :]).sum(-1)

    def _refuse_beyond(self, class_count: int) -> None:
        if not can_be_read(self.classes):
            return
        largest = int(self.classes.max())
        if largest >= class_count and bool((self.probabilities[self.classes >= class_count] > 0).any()):
            error = LabelError(
                f"the targets name class {largest}, but class_count is {class_count}; give the class_count of the "
                "store that they come from"
            )
            raise explained(error, "trainers.md#common-mistakes")

    def _checked(self, label: torch.Tensor, class_count: int = 1 << 31) -> torch.Tensor:
        pictures = self.outside.shape[:-1]
        if label.shape != pictures or label.is_floating_point():
            raise LabelError(
                f"the targets of {list(pictures)} pictures need one class number for each, int64, not {label.dtype} "
                f"{list(label.shape)}"
            )
        if can_be_read(label) and not 0 <= int(label.min()) <= int(label.max()) < class_count:
            error = LabelError(
                f"class numbers {int(label.min())} to {int(label.max())} were given, but class_count is {class_count}; "
                "leave out pictures without a class (-1)"
            )
            raise explained(error, "trainers.md#common-mistakes")
        return label


def token_targets(
    labels: LabelMap, views: Sequence[View | Warp], tokens: tuple[int, int], *, keep: int = 8
) -> TokenTargets:
    """The targets of training pictures that were made of labelled source pictures, as tensors.

    Args:
        labels: labels of b source pictures, [b, h, w, k].
        views: how each training picture was made of its source.
        tokens: rows and columns of tokens of the model.
        keep: number of classes kept at each position; the probability of all less probable ones joins the remainder.

    Raises:
        LabelError: a picture has no label, its scores are logits, or `tokens` is not (rows, columns).

    Example:
        >>> import numpy as np
        >>> classes, scores = np.uint16([[[[7]]]]), np.float32([[[[0.75]]]])  # one picture, 1x1 grid, k = 1
        >>> labels = LabelMap(classes, scores, np.float32([[0, 0, 1, 1]]), np.uint32([[48, 64]]), np.uint8([0]))
        >>> targets = token_targets(labels, [View.whole()], (2, 2), keep=1)
        >>> targets
        TokenTargets(pictures=1, tokens=4, classes=1)
        >>> targets.remainder[0].tolist()  # spread over the classes that are not named
        [0.25, 0.25, 0.25, 0.25, 0.25]
    """
    return TokenTargets(*map(torch.from_numpy, sparse_targets(labels, views, tokens, keep=keep)))
