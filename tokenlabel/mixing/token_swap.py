"""How does a compiled model mix tokens without a graph for each batch? A swap holds its boxes as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class TokenSwap:
    """The part of a `Mix` that happens inside a model, for `torch.compile`: `mix.swap(device)`.

    A Mix holds its boxes as numbers, for each of which a graph would be compiled; here they are tensors, and all
    batches of one size share a graph. Models take it in place of the mix.

    partners: int64 [b], the index of each picture's partner
    swapped:  bool [b, h, w], which tokens of the grid come from the partner
    """

    partners: torch.Tensor
    swapped: torch.Tensor

    def tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the model's stem gives, [b, D, h, w], with boxes swapped. h x w is the grid, or a multiple of it."""
        rows, columns = (tokens.shape[2 + axis] // self.swapped.shape[1 + axis] for axis in (0, 1))
        where = self.swapped.repeat_interleave(rows, 1).repeat_interleave(columns, 2)
        return torch.where(where[:, None], tokens[self.partners], tokens)

    def restored(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits of tokens, [b, t, C], with boxes swapped back: each row belongs to its own picture again."""
        return torch.where(self.swapped.flatten(1)[..., None], logits[self.partners], logits)

    def __repr__(self) -> str:
        pictures, rows, columns = self.swapped.shape
        return f"TokenSwap(pictures={pictures}, tokens={rows}x{columns})"
