"""What does one visual transformer compute? Tokens from a map, a transformer over them, and the map with them added.

    tokenizer    T = Aᵀ X                                       see tokenizers.py
    transformer  T' = T + softmax_L((T K)(T Q)ᵀ) T              T_out = T' + ReLU(T' F1) F2
    projector    X_out = X + softmax_L((X W_Q)(T_out W_K)ᵀ) T_out

Equations 4 and 5 of arXiv 2006.03677 and its projector. The published text has neither norms, positions nor scales;
here scores are divided by the square root of a head's width, which could be part of K. Nothing knows where a place is:
if places change their order, so does the result, and nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tokenlabel.models.visual_transformer.tokenizers import FilterTokenizer, RecurrentTokenizer, value_matrix


class TokenTransformer(nn.Module):
    """Tokens [b, L, width] -> tokens [b, L, width].

    Args:
        width: of a token.
        heads: into how many parts of equal width tokens are divided, each with attention of its own.
        value: whether tokens attend to T V rather than to T.

    Raises:
        ValueError: the width cannot be divided into so many heads.
    """

    def __init__(self, width: int, *, heads: int, value: bool, **made: Any) -> None:
        super().__init__()
        _check_heads(width, heads)
        self.heads = heads
        self.key = nn.Linear(width, width, bias=False, **made)
        self.query = nn.Linear(width, width, bias=False, **made)
        self.value = value_matrix(width, width, value, **made)
        self.fc1 = nn.Linear(width, width, bias=False, **made)
        self.fc2 = nn.Linear(width, width, bias=False, **made)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens that go out."""
        tokens = tokens + _attended(self.key(tokens), self.query(tokens), self.value(tokens), self.heads)
        answer: torch.Tensor = self.fc2(self.fc1(tokens).relu())
        return tokens + answer


class Projector(nn.Module):
    """Places [b, n, C] and tokens [b, L, width] -> places [b, n, C], each with a mean of the tokens added.

    Args:
        channels: C.
        width: of a token; another one than C needs a value matrix.
        heads: into how many parts of equal width channels are divided.
        value: whether T V is added rather than T.

    Raises:
        ValueError: a width other than C without a value matrix; C cannot be divided into so many heads.
    """

    def __init__(self, channels: int, *, width: int, heads: int, value: bool, **made: Any) -> None:
        super().__init__()
        _check_heads(channels, heads)
        self.heads = heads
        self.query = nn.Linear(channels, channels, bias=False, **made)
        self.key = nn.Linear(width, channels, bias=False, **made)
        self.value = value_matrix(width, channels, value, **made)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The places that go out."""
        return x + _attended(self.query(x), self.key(tokens), self.value(tokens), self.heads)


class VisualTransformer(nn.Module):
    """Places [b, n, C] and the tokens of the module before, if any -> places [b, n, C] and tokens [b, L, width].

    Args:
        channels: C.
        count: L, of the first module; None for a later one, whose tokens are made from those before.
        width: of a token; another one than C needs a value matrix.
        heads, value: see the parts.
        project: whether tokens are added to the places; without, places come out as they came in.
    """

    def __init__(
        self, channels: int, count: int | None, *, width: int, heads: int, value: bool, project: bool, **made: Any
    ) -> None:
        super().__init__()
        self.tokenizer: FilterTokenizer | RecurrentTokenizer
        if count is None:
            self.tokenizer = RecurrentTokenizer(channels, width=width, value=value, **made)
        else:
            self.tokenizer = FilterTokenizer(channels, count, width=width, value=value, **made)
        self.transformer = TokenTransformer(width, heads=heads, value=value, **made)
        self.projector = Projector(channels, width=width, heads=heads, value=value, **made) if project else None

    def forward(self, x: torch.Tensor, before: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Places and tokens that go out."""
        tokens = self.transformer(self.tokenizer(x, before))
        return x if self.projector is None else self.projector(x, tokens), tokens


def _attended(ours: torch.Tensor, theirs: torch.Tensor, values: torch.Tensor, heads: int) -> torch.Tensor:
    """For each of ours [b, n, D] a mean of the values [b, L, D], by the product with theirs [b, L, D]."""
    ours, theirs, values = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (ours, theirs, values))
    scores = ours @ theirs.transpose(-2, -1) * ours.shape[-1] ** -0.5
    return (scores.softmax(-1) @ values).transpose(1, 2).flatten(2)


def _check_heads(width: int, heads: int) -> None:
    if heads < 1 or width % heads:
        raise ValueError(f"a width of {width} cannot be divided into {heads} heads; give a divisor of it")
