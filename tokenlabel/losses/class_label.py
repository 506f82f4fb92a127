"""How wrong is a student about the pictures' own classes? Class numbers, or what mixing makes of them."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 the field's own name

from storage.errors import explained
from tokenlabel.errors import LabelError
from tokenlabel.losses.soft_cross_entropy import soft_cross_entropy
from tokenlabel.targets.readable import can_be_read
from tokenlabel.targets.token_targets import TokenTargets

SoftLabel = tuple[torch.Tensor, torch.Tensor]
"""Classes int64 [b, m] and their probabilities float [b, m], which mixing makes of class numbers."""

# torch silently leaves class -100 out of the mean. Class numbers are not checked on a GPU, so no number may mean that.
_NO_CLASS = torch.iinfo(torch.int64).min


def smooth_label(label: torch.Tensor | SoftLabel, smoothing: float, *, class_count: int) -> SoftLabel:
    """Label smoothing of pictures' own classes, (1 − s) y + s / C, in the form that the losses take.

    Args:
        label: class numbers int64 [b], or what mixing made of them.
        smoothing: s, in [0, 1].
        class_count: C.

    Raises:
        LabelError: the smoothing is not in [0, 1]; a class number of C or more.

    Example:
        >>> classes, probabilities = smooth_label(torch.tensor([2]), 0.1, class_count=10)
        >>> classes.tolist(), round(probabilities.item(), 2)  # what is left is spread over the other nine classes
        ([[2]], 0.91)
    """
    if not isinstance(label, tuple):
        label = label[:, None], torch.ones(len(label), 1, device=label.device)
    targets = TokenTargets(*label, torch.zeros_like(label[0][..., 0], dtype=torch.bool))
    targets = targets.smoothed(smoothing, class_count=class_count)
    return targets.classes, targets.probabilities


def class_label_loss(logits: torch.Tensor, label: torch.Tensor | SoftLabel) -> torch.Tensor:
    """The mean cross-entropy of pictures with their own classes, a scalar in nats.

    Args:
        logits: [b, C].
        label: int64 [b], or what mixing made of it.

    Raises:
        LabelError: labels of another form, or class numbers that the model does not have.
    """
    if isinstance(label, tuple):
        classes, probabilities = label
        if classes.shape != probabilities.shape or classes.shape[:-1] != logits.shape[:-1]:
            raise LabelError(
                f"a soft label of {len(logits)} pictures is classes [{len(logits)}, m] and probabilities of the same "
                f"shape, not {list(classes.shape)} and {list(probabilities.shape)}"
            )
        if can_be_read(classes):
            _check_classes(classes[probabilities > 0], logits.shape[-1])
        return soft_cross_entropy(logits, classes, probabilities).mean()
    if label.shape != logits.shape[:1] or label.is_floating_point():
        raise LabelError(
            f"label must hold the class numbers of {len(logits)} pictures, int64 [{len(logits)}], not {label.dtype} "
            f"{list(label.shape)}. If mixup made a dense label of it, it did not mix the targets of the tokens; mix "
            "with tokenlabel.Mixer, and give its (classes, probabilities)"
        )
    if can_be_read(label):
        _check_classes(label, logits.shape[-1])
    return F.cross_entropy(logits.float(), label.long(), ignore_index=_NO_CLASS)


def _check_classes(label: torch.Tensor, class_count: int) -> None:
    """Check class numbers."""
    if label.numel() and not 0 <= int(label.min()) <= int(label.max()) < class_count:
        error = LabelError(
            f"label holds class numbers {int(label.min())} to {int(label.max())}, but the model has {class_count} "
            "classes; leave out pictures without a class, or teach all by the annotator alone (label=None)"
        )
        raise explained(error, "trainers.md#common-mistakes")
