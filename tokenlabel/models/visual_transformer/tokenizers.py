"""How do the places of a map become a few visual tokens? Each token is a mean of places, weighted by attention.

    filter      A = softmax over places of (X W_A)             T = Aᵀ X
    recurrent   A = softmax over places of (X W_Rᵀ / √C)       W_R = T_before W, so that tokens say what to look for

Equations 1 to 3 of arXiv 2006.03677. With a value matrix, T = Aᵀ X V.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class FilterTokenizer(nn.Module):
    """Places [b, n, C] -> tokens [b, L, width], by L learned filters.

    Args:
        channels: C.
        count: L.
        width: of a token; another one than C needs a value matrix.
        value: whether what is averaged is X V rather than X.

    Raises:
        ValueError: a width other than C without a value matrix.
    """

    def __init__(self, channels: int, count: int, *, width: int, value: bool, **made: Any) -> None:
        super().__init__()
        self.filters = nn.Linear(channels, count, bias=False, **made)
        self.value = value_matrix(channels, width, value, **made)

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """The weights of places in each token: [b, L, n], which sum to 1 over the places."""
        return self.filters(x).softmax(1).transpose(1, 2)

    def forward(self, x: torch.Tensor, before: torch.Tensor | None = None) -> torch.Tensor:
        """The tokens. Those of the module before are not read."""
        tokens: torch.Tensor = self.attention(x) @ self.value(x)
        return tokens


class RecurrentTokenizer(nn.Module):
    """Places [b, n, C] and the tokens of the module before [b, L, width] -> tokens [b, L, width].

    The printed equation has no 1/√C; it could be part of W, and keeps new weights from attending to single places.

    Args:
        channels: C.
        width: of a token; another one than C needs a value matrix.
        value: whether what is averaged is X V rather than X.

    Raises:
        ValueError: a width other than C without a value matrix.
    """

    def __init__(self, channels: int, *, width: int, value: bool, **made: Any) -> None:
        super().__init__()
        self.filters = nn.Linear(width, channels, bias=False, **made)
        self.value = value_matrix(channels, width, value, **made)

    def attention(self, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """The weights of places in each token: [b, L, n], which sum to 1 over the places."""
        scores = self.filters(before) @ x.transpose(1, 2) * x.shape[-1] ** -0.5
        return scores.softmax(-1)

    def forward(self, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """The tokens."""
        tokens: torch.Tensor = self.attention(x, before) @ self.value(x)
        return tokens


def value_matrix(width_in: int, width: int, value: bool, **made: Any) -> nn.Module:
    """V, or nothing where the equations have none.

    Raises:
        ValueError: widths differ, and there is no matrix between them.
    """
    if value:
        return nn.Linear(width_in, width, bias=False, **made)
    if width_in != width:
        raise ValueError(
            f"tokens of width {width} cannot be made of {width_in} channels, or the other way round, without a value "
            f"matrix; give value=True, or token_width={width_in}"
        )
    return nn.Identity()
