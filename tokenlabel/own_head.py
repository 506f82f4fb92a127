"""What does a network of timm's say of its picture and of each of its tokens? Its own classifier answers for both."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from networks.locations import Locations, answers, head_answer
from tokenlabel.errors import LabelError


class TokenLogits(NamedTuple):
    """The logits of pictures and of their tokens, as the loss takes them, and the grid that the tokens form.

    picture: [b, C]
    tokens:  [b, t, C], row by row
    grid:    rows and columns: what `LabeledImages` takes as `tokens`
    """

    picture: torch.Tensor
    tokens: torch.Tensor
    grid: tuple[int, int]

    def __repr__(self) -> str:
        (pictures, classes), (rows, columns) = self.picture.shape, self.grid
        return f"TokenLogits(pictures={pictures}, tokens={rows}x{columns}, classes={classes})"


def token_logits(model: Any, pixels: torch.Tensor) -> TokenLogits:
    """The logits of pictures and of their tokens, with gradients, from one pass through any classifier of timm's.

    Each token is given to the network's own head as a picture of this one token, with all norms (`fc_norm`), layers
    and activations of the head. VOLO and LV-ViT answer through their head for tokens. The network may give a map,
    [b, C, h, w] or [b, h, w, C], or tokens, with or without a class token and registers.

    Args:
        model: a network with timm's forward_features and forward_head, in training or evaluation mode; the network
            itself, not a wrapper such as DistributedDataParallel.
        pixels: float [b, 3, H, W], normalised.

    Raises:
        LabelError: the network has no classifier, or gives no grid of locations.

    Example:
        >>> from timm import create_model
        >>> picture, tokens, grid = token_logits(create_model("test_resnet", num_classes=10), torch.zeros(2, 3, 64, 64))
        >>> list(picture.shape), list(tokens.shape), grid
        ([2, 10], [2, 4, 10], (2, 2))
    """
    if not hasattr(model, "forward_features") or getattr(model, "num_classes", 0) < 1:
        raise LabelError(
            f"token_logits takes a classifier with timm's forward_features and forward_head, not a "
            f"{type(model).__name__}{'' if hasattr(model, 'forward_features') else ' (of a wrapper, give .module)'}"
        )
    locations = Locations.of(model)
    features = model.forward_features(pixels)
    try:
        grid = locations.grid(features, (pixels.shape[-2], pixels.shape[-1]))
        tokens = answers(model, locations, features, grid)
        return TokenLogits(head_answer(model, features), tokens.flatten(1, 2), grid)
    except ValueError as error:
        raise LabelError(f"{type(model).__name__} has no logits of tokens: {error}") from error
