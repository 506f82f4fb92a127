"""What have the heads in common that begin at timm's forward_features and end with its forward_head?"""

from __future__ import annotations

from typing import Any

import torch

from annotate.model.heads.frozen_layers import FrozenLayers
from annotate.model.heads.head import Unfaithful
from networks.locations import Locations, head_answer


class TimmHead:
    """A network's own features, and its own answer for all of them."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.layout = Locations.of(model)
        self._layers = FrozenLayers(model)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """What forward_features gives."""
        features: torch.Tensor = self._model.forward_features(pixels)
        return features

    def whole(self, features: torch.Tensor) -> torch.Tensor:
        """What forward_head says of all features."""
        try:
            return head_answer(self._model, features)
        except ValueError as error:
            raise Unfaithful(str(error)) from error
