"""What does T2T-ViT's default token layer compute? Attention whose softmax is a dot product of random features.

    φ(x) = exp(w x − |x|² / 2) / √m        w: m fixed directions, orthogonal, each of length √m
    y_i  = Σ_j (φ(q_i)·φ(k_j)) v_j / Σ_j φ(q_i)·φ(k_j)

Summed over j first, this takes time and memory in proportion to the number of tokens, not to its square.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_LEAST = 1e-8
_DROPPED = 0.1  # as published, in every size


class PerformerLayer(nn.Module):
    """Tokens [b, t, width_in] -> tokens [b, t, width]: attention without softmax, and an MLP.

    The residual of the attention is its values, since tokens come in and go out with different widths. Exponentials
    are of features that no norm bounds, so φ is computed in float32 whatever autocast says.

    Args:
        width_in: of the tokens that come in.
        width: of those that go out, and of queries, keys and values.
    """

    w: nn.Parameter

    def __init__(
        self, width_in: int, width: int = 64, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.norm1 = nn.LayerNorm(width_in, **made)
        self.kqv = nn.Linear(width_in, 3 * width, **made)
        self.proj = nn.Linear(width, width, **made)
        self.drop = nn.Dropout(_DROPPED)
        self.norm2 = nn.LayerNorm(width, **made)
        self.mlp = nn.Sequential(
            nn.Linear(width, width, **made), nn.GELU(), nn.Linear(width, width, **made), nn.Dropout(_DROPPED)
        )
        self.w = nn.Parameter(torch.empty(width // 2, width, **made), requires_grad=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new directions; the layers inside have a `reset_parameters` of their own."""
        if not self.w.is_meta:
            nn.init.orthogonal_(self.w, gain=float(len(self.w)) ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The tokens that go out."""
        k, q, v = self.kqv(self.norm1(x)).chunk(3, -1)
        x = v + self.drop(self.proj(self._attended(k, q, v)))
        mlp: torch.Tensor = self.mlp(self.norm2(x))
        return x + mlp

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """φ of queries or keys [b, t, width]: [b, t, m], positive."""
        w = self.w.to(x.dtype)
        return torch.exp(x @ w.T - x.square().sum(-1, keepdim=True) / 2) / len(w) ** 0.5

    def _attended(self, k: torch.Tensor, q: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        exact = torch.promote_types(v.dtype, torch.float32)
        with torch.autocast(v.device.type, enabled=False):
            of_k, of_q, values = self.features(k.to(exact)), self.features(q.to(exact)), v.to(exact)
            weighed = of_q @ (of_k.transpose(1, 2) @ values)
            total = of_q @ of_k.sum(1)[:, :, None]
            return (weighed / (total + _LEAST)).to(v.dtype)
