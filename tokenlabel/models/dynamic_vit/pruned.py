"""What does a student answer that drops tokens?"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Pruned(NamedTuple):
    """What a DynamicViT answers in training.

    picture   logits [b, C]
    tokens    logits [b, t, C] of all tokens, row by row; where a token was dropped they mean nothing
    keep      for each place where tokens are dropped, which are left after it: float [b, t], 1 or 0, with a gradient
    """

    picture: torch.Tensor
    tokens: torch.Tensor
    keep: tuple[torch.Tensor, ...]
