"""How different are the tokens of a picture from one another, layer by layer?

similarity   the mean cosine of all pairs of different tokens of a picture: 1 if all point the same way
rank         the effective rank of a picture's tokens [t, D]: exp of the entropy of their singular values, divided
             by their sum (Roy and Vetterli 2007); 1 if all lie on a line, at most the smaller of t and D
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn.functional import normalize


class Diversity(NamedTuple):
    """Means over pictures: of the stem's tokens, and of those after each block."""

    similarity: list[float]
    rank: list[float]


@torch.inference_mode()
def diversity(model: Any, pixels: torch.Tensor) -> Diversity | None:
    """The diversity of patch tokens; None where a feature is not finite.

    Args:
        model: a student with timm's `patch_embed` and `forward_intermediates`, in evaluation mode.
        pixels: [n, 3, H, W].
    """
    stem = model.patch_embed(pixels)
    maps = [stem, *model.forward_intermediates(pixels, intermediates_only=True)]
    tokens = [layer.flatten(2).transpose(1, 2).float() for layer in maps]
    if not all(bool(layer.isfinite().all()) for layer in tokens):
        return None
    return Diversity([similarity(layer) for layer in tokens], [effective_rank(layer) for layer in tokens])


def similarity(tokens: torch.Tensor) -> float:
    """The mean cosine of different tokens of a picture, of tokens [n, t, D]."""
    along = normalize(tokens, dim=-1)
    t = tokens.shape[1]
    cosines = along @ along.transpose(1, 2)
    of_others = cosines.sum((1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(1)
    return float((of_others / (t * (t - 1))).mean())


def effective_rank(tokens: torch.Tensor) -> float:
    """The mean effective rank of a picture's tokens [t, D], of tokens [n, t, D]."""
    values = torch.linalg.svdvals(tokens)
    shares = values / values.sum(1, keepdim=True).clamp(min=1e-12)
    return float(torch.special.entr(shares).sum(1).exp().mean())
