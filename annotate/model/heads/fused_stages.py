"""How does a head answer that fuses several stages (EfficientViM)? Only the last one's map has locations.

    hidden states of each stage ──▶ their means, the same at every location ┐
                                                                            ├▶ Σ w_s (W_s · x_s + b_s)
    map of the last stage [b, C, h, w] ─────────▶ each location ────────────┘

The head is affine, so that the mean over locations is the network's own answer.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.efficientvim import EfficientViM
from torch import nn


class FusedStages(nn.Module):
    """The same network with one map, which has the means of the hidden states as further channels."""

    output_fmt = "NCHW"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.feature_info = model.feature_info

    @staticmethod
    def are_in(model: Any) -> bool:
        """Whether a network's head fuses the hidden states of its stages."""
        return isinstance(model, EfficientViM)

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """At each location the mean of each stage's hidden states, and its own vector."""
        *states, tokens = self.model.forward_features(pixels)
        stride = self.feature_info[-1]["reduction"]
        places = tokens.unflatten(2, [-(-side // stride) for side in pixels.shape[2:]])
        # Detached: where the grid lies is measured by gradients, and what all locations share is nowhere.
        shared = torch.cat([each.mean(2) for each in states], 1).detach()
        return torch.cat([shared[:, :, None, None].expand(-1, -1, *places.shape[2:]), places], 1)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """The fused classifiers of their mean."""
        parts = features.mean((2, 3)).split([head.in_features for head in self.model.heads], 1)
        logits: torch.Tensor = self.model.forward_head([part[:, :, None] for part in parts])
        return logits
