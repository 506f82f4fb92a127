"""How are descriptors of one class pulled together, and those of others pushed apart? By equation 1 of 2102.05644.

    L = 1/N Σ_i [ Σ_{j positive} (1 − z_i·z_j) + Σ_{j negative} max(0, z_i·z_j − β) ]

It is a sum over j, not a mean over the pairs that are not zero, as pytorch-metric-learning's ContrastiveLoss has it.
"""

from __future__ import annotations

import torch

from tokenlabel.errors import LabelError


def contrastive_loss(
    descriptors: torch.Tensor,
    others: torch.Tensor,
    positive: torch.Tensor,
    *,
    same: torch.Tensor | None = None,
    margin: float = 0.5,
) -> torch.Tensor:
    """The loss of a batch against itself, or against itself and a memory. Computed in float32 or better.

    Args:
        descriptors: float [n, d], of unit length.
        others: float [m, d], of unit length: for a batch alone the same, otherwise `torch.cat([descriptors, memory])`.
        positive: bool [n, m], which belong together, see `positive_pairs`.
        same: bool [n, m], which are one picture, and are left out; None if `others` begin with the descriptors
            themselves, and no picture occurs twice.
        margin: β, in [-1, 1): the cosine below which a negative pair costs nothing.

    Raises:
        LabelError: shapes do not match; the margin is out of range; there is no pair, or no negative pair.

    Example:
        >>> z, who = torch.eye(3), torch.tensor([0, 0, 1])
        >>> round(float(contrastive_loss(z, z, who[:, None] == who)), 4)  # 2 (1 − 0) / 3
        0.6667
    """
    n, m = len(descriptors), len(others)
    if positive.shape != (n, m) or descriptors.ndim != 2 or others.shape[1:] != descriptors.shape[1:]:
        raise LabelError(
            f"the loss takes descriptors [n, d], others [m, d] and positive [n, m], not {list(descriptors.shape)}, "
            f"{list(others.shape)} and {list(positive.shape)}"
        )
    if not -1 <= margin < 1:
        raise LabelError(f"the margin is a cosine in [-1, 1), not {margin}; 0.5 is the paper's")
    if same is None:
        same = torch.eye(n, m, dtype=torch.bool, device=positive.device)
    negative = ~positive & ~same
    positive = positive & ~same
    _refuse_without_pairs(n, m, same, negative)
    exact = torch.promote_types(descriptors.dtype, torch.float32)
    with torch.autocast(descriptors.device.type, enabled=False):
        cosines = descriptors.to(exact) @ others.to(exact).T
        costs = torch.where(positive, 1 - cosines, torch.where(negative, (cosines - margin).clamp(min=0), 0))
        return costs.sum() / n


def _refuse_without_pairs(n: int, m: int, same: torch.Tensor, negative: torch.Tensor) -> None:
    if torch.compiler.is_compiling():
        return
    if n == 0 or bool(same.all()):
        raise LabelError(
            f"a batch of {n} picture{'s' * (n != 1)} has no pairs to learn from; draw several pictures of several "
            "classes, as ClassBatches does"
        )
    if not bool(negative.any()):
        raise LabelError(
            f"all {n} pictures of the batch belong together, and to all {m} that they are compared with, so that the "
            "loss would make their descriptors equal; draw batches of several classes, as ClassBatches does, or where "
            "labels say who belongs together, give a higher threshold"
        )
