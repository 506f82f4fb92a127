"""What is a sparse target as a distribution over all classes? For losses that take nothing else: BCE, KL, your own."""

from __future__ import annotations

import torch


def spread(classes: torch.Tensor, probabilities: torch.Tensor, share: torch.Tensor, class_count: int) -> torch.Tensor:
    """The distributions that sparse targets stand for: float32 [..., C].

    Args:
        classes: int [..., m], the named classes; one that is named more than once has the sum.
        probabilities: float32 [..., m]; 0 marks an entry that names nothing.
        share: float32 [...], the probability of each class that is not named.
        class_count: C.
    """
    named = probabilities > 0
    at = torch.where(named, classes, 0).long()
    empty = torch.zeros(*share.shape, class_count, dtype=probabilities.dtype, device=probabilities.device)
    summed = empty.scatter_add(-1, at, torch.where(named, probabilities, 0))
    is_named = empty.scatter_add(-1, at, named.to(empty.dtype)) > 0
    return torch.where(is_named, summed, share[..., None])
