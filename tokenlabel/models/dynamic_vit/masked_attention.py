"""How does a token attend only to tokens that are left, so that the choice of them still gets a gradient?"""

from __future__ import annotations

import torch
from timm.layers import Attention

_LEAST = 1e-6


class MaskedAttention(Attention):
    """timm's attention, which may be told which tokens are left; its weights have the same names.

    Dropped tokens stay in their places: they attend to those that are left and to themselves, and nobody to them.
    """

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None, is_causal: bool = False) -> torch.Tensor:
        """The tokens [b, n, D] after attention.

        Args:
            x: [b, n, D].
            attn_mask: float [b, n], 1 for tokens that are left and 0 for others; None for all. timm's blocks hand on
                what they get under this name.
            is_causal: must be False.
        """
        if attn_mask is None:
            return super().forward(x)
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        weights = masked_softmax((q @ k.transpose(-2, -1)) * self.scale, attn_mask).to(v.dtype)
        attended = (self.attn_drop(weights) @ v).transpose(1, 2).flatten(2)
        projected: torch.Tensor = self.proj_drop(self.proj(attended))
        return projected


def masked_softmax(scores: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Softmax of scores [b, heads, n, n] over the tokens that are left and the token itself, in float32 or more.

    Equations 10 and 11 of arXiv 2106.02034, with the published code's small constant, which keeps gradients finite.

    Args:
        scores: of queries by keys.
        keep: [b, n], 1 or 0. It gets a gradient.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    count = scores.shape[-1]
    left = keep[:, None, None, :].to(scores.dtype)
    seen = left + (1 - left) * torch.eye(count, dtype=scores.dtype, device=scores.device)
    weights = torch.exp(scores - scores.amax(-1, keepdim=True).detach()) * seen
    return (weights + _LEAST / count) / (weights.sum(-1, keepdim=True) + _LEAST)
