"""What does the token layer of T2T-ViT's "_t" sizes compute? Attention with softmax, of one head."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Mlp
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class TransformerLayer(nn.Module):
    """Tokens [b, t, width_in] -> tokens [b, t, width]: attention of one head, and an MLP.

    As published, queries and keys are scaled by the width of what comes in, not by their own.

    Args:
        width_in: of the tokens that come in.
        width: of those that go out, and of queries, keys and values.
    """

    def __init__(
        self, width_in: int, width: int = 64, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.norm1 = nn.LayerNorm(width_in, **made)
        self.attn = _Attention(width_in, width, **made)
        self.norm2 = nn.LayerNorm(width, **made)
        self.mlp = Mlp(width, width, **made)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The tokens that go out."""
        x = self.attn(self.norm1(x))
        mlp: torch.Tensor = self.mlp(self.norm2(x))
        return x + mlp


class _Attention(nn.Module):
    """Its residual is its values, since tokens come in and go out with different widths."""

    def __init__(self, width_in: int, width: int, **made: Any) -> None:
        super().__init__()
        self.scale = width_in**-0.5
        self.qkv = nn.Linear(width_in, 3 * width, bias=False, **made)
        self.proj = nn.Linear(width, width, **made)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        attended: torch.Tensor = self.proj(scaled_dot_product_attention(q, k, v, scale=self.scale))
        return v + attended
