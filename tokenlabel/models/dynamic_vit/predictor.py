"""Which tokens stay? A small network scores each by its own features and by the mean of those that are left."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class ScorePredictor(nn.Module):
    """Tokens [b, t, D] and which of them are left [b, t] -> log-probabilities [b, t, 2] to keep and to drop each.

    Equations 1 to 5 of arXiv 2106.02034. A picture of which nothing is left has a mean of zero.

    Args:
        width: D.
    """

    def __init__(self, width: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_conv = nn.Sequential(nn.LayerNorm(width, **made), nn.Linear(width, width, **made), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(width, width // 2, **made),
            nn.GELU(),
            nn.Linear(width // 2, width // 4, **made),
            nn.GELU(),
            nn.Linear(width // 4, 2, **made),
            nn.LogSoftmax(-1),
        )

    def forward(self, tokens: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Log-probabilities; the first is that of keeping the token."""
        own, shared = self.in_conv(tokens).chunk(2, -1)
        left = keep[..., None].to(shared.dtype)
        mean = (shared * left).sum(1, keepdim=True) / left.sum(1, keepdim=True).clamp(min=1)
        scores: torch.Tensor = self.out_conv(torch.cat([own, mean.expand_as(shared)], -1))
        return scores
