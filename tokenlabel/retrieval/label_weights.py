"""Which tokens describe what a picture shows? Those to which its label gives the class of the whole picture.

    w_t = Σ_c p_t(c) · p_0(c)        p_t of token t, p_0 of the picture as a whole; then Σ_t w_t = 1

w_t is the probability that a class drawn for the token and one drawn for the picture are the same. This is our design:
nothing in arXiv 2102.05644 uses dense labels.
"""

from __future__ import annotations

import torch

from tokenlabel.targets.token_targets import TokenTargets


def label_weights(targets: TokenTargets) -> torch.Tensor:
    """The weights of a batch's tokens when they are pooled: float32 [b, t], which sum to 1.

    Tokens outside the label weigh nothing. Where no token has a class of its picture, all weigh the same.

    Args:
        targets: of the pictures as they are shown to the network, as `LabeledImages` gives them.

    Example:
        >>> classes = torch.tensor([[[7], [7], [3]]])  # a picture of class 7 and its two tokens
        >>> targets = TokenTargets(classes, torch.ones(1, 3, 1), torch.zeros(1, 3, dtype=torch.bool))
        >>> label_weights(targets).tolist()
        [[1.0, 0.0]]
    """
    classes, p = targets.classes, targets.probabilities
    same = classes[:, 1:, :, None] == classes[:, :1, None, :]
    both = p[:, 1:, :, None] * p[:, :1, None, :]
    weights = torch.where(same, both, 0).sum((2, 3)).masked_fill(targets.outside[:, 1:], 0)
    total = weights.sum(1, keepdim=True)
    return torch.where(total > 0, weights / total.clamp(min=torch.finfo(total.dtype).tiny), 1 / weights.shape[1])
