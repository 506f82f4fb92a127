"""Where are the tokens of a network that drops and sorts them on its way (DynamicViT)? Put back, row by row."""

from __future__ import annotations

from typing import Any

import torch

from annotate.model.heads.head import Unfaithful


def drops_tokens(model: Any) -> bool:
    """Whether it is a DynamicViT, whose features are those of the tokens that are left, best first."""
    return hasattr(model, "kept_features")


def all_tokens(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The class token and all others, row by row.

    Raises:
        Unfaithful: it drops some.
    """
    features, positions = model.kept_features(pixels)
    rows, columns = model.token_grid
    if positions.shape[1] < rows * columns:
        raise Unfaithful(
            f"it answers at {positions.shape[1]} of its {rows * columns} tokens only, and drops the others. Keep "
            "all with --model-kwarg keep_ratio=1.0"
        )
    order = positions.argsort(1)[..., None].expand(-1, -1, features.shape[2])
    return torch.cat([features[:, :1], features[:, 1:].gather(1, order)], 1)
