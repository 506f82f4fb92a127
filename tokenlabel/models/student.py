"""What is a student? A network that classifies a picture and each token of a grid; and how do both answer as one?"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import nn

from tokenlabel.losses.class_label import SoftLabel
from tokenlabel.mixing.mix import Mix
from tokenlabel.targets.token_targets import TokenTargets


@runtime_checkable
class Student(Protocol):
    """A torch module that learns from token labels: the contract of `tokenlabel.train` and of all our models.

    num_classes   C
    token_share   part of the best token's logits in the logits to classify by, see `combined_logits`
    token_grid    rows and columns of its tokens, for pictures of the size that it was made for
    logits        both heads in any mode, for the loss: the pictures [b, C], and the tokens [b, t, C] row by row on that
                  grid. `mix` is a batch's MixToken: tokens are swapped between pictures inside, and the logits of
                  swapped tokens are given back to their own pictures
    forward       in training mode the same as `logits`; in evaluation mode the logits to classify by, [b, C]

    With timm's names where timm has them, a student also has `reset_classifier`, `forward_features`, `forward_head`,
    `get_classifier`, `set_grad_checkpointing` and `forward_intermediates`, whose last map is the tokens'.

    A student that is built on another network may name in `added_parts` the modules that weights of that network lack:
    the trainer can let all others learn slower, and later. One that is not taught by `token_label_loss` is an
    `OwnLoss`.

    A network of your own becomes one by `with_token_head`.
    """

    num_classes: int
    token_share: float

    @property
    def token_grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens."""
        ...

    def logits(self, pixels: torch.Tensor, mix: Mix | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the pictures [b, C] and of their tokens [b, t, C], row by row, for pixels [b, 3, H, W]."""
        ...

    def __call__(
        self, pixels: torch.Tensor, mix: Mix | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """While it trains, both; in evaluation mode, the logits to classify by."""
        ...


@runtime_checkable
class OwnLoss(Protocol):
    """A student with a loss of its own, and perhaps a teacher: DynamicViT, which also learns how much to keep."""

    def teacher(self) -> nn.Module:
        """A new network for the teacher's weights, without gradients, on the student's device."""
        ...

    def own_loss(
        self,
        pixels: torch.Tensor,
        mix: Mix | None,
        targets: TokenTargets,
        *,
        label: torch.Tensor | SoftLabel | None,
        teacher: nn.Module | None,
        **weights: float,
    ) -> torch.Tensor:
        """The loss of a batch, a scalar; `targets` and `label` are mixed, and `weights` are those of its parts."""
        ...


def combined_logits(picture: torch.Tensor, tokens: torch.Tensor, token_share: float = 0.5) -> torch.Tensor:
    """The logits to classify by, [b, C]: those of the picture, and a part of the best token's logits for each class.

    Args:
        picture: logits [b, C].
        tokens: logits [b, t, C].
        token_share: that part. LV-ViT's is a half; 0 is the picture's head alone.
    """
    return picture + token_share * tokens.amax(1)
