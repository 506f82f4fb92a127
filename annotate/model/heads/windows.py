"""How does a head answer that takes windows of its map (VGG)? Each window is a location; it pools the mean over them.

    map [b, C, h, w] ──▶ layers over windows of 7x7 ──▶ [b, C', h - 6, w - 6] ──▶ mean ──▶ classifier

At 224 pixels VGG has one window; at 448 it has 8x8. The grid covers the windows' middles.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vgg import ConvMlp
from torch import nn

from annotate.model.heads.head import Unfaithful


class Windows(nn.Module):
    """The same network, cut after its windows: forward_features gives a map of windows, forward_head pools it."""

    output_fmt = "NCHW"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.feature_info = model.feature_info

    @staticmethod
    def are_in(model: Any) -> bool:
        """Whether a network's head takes windows of its map."""
        return isinstance(getattr(model, "pre_logits", None), ConvMlp)

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """The vector of each window."""
        features: torch.Tensor = self.model.forward_features(pixels)
        side = self.model.pre_logits.input_kernel_size
        if min(features.shape[2:]) < side:
            raise Unfaithful(
                f"its head takes windows of {side}x{side} of its map, which is {features.shape[2]}x{features.shape[3]} "
                f"here. Give an input of at least {side * self.feature_info[-1]['reduction']} pixels; twice as many "
                f"have {side + 1}x{side + 1} locations"
            )
        windows: torch.Tensor = self.model.pre_logits(features)
        return windows

    def forward_head(self, windows: torch.Tensor) -> torch.Tensor:
        """The classifier of their mean."""
        logits: torch.Tensor = self.model.head(windows)
        return logits
