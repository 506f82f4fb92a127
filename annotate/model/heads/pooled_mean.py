"""How does a head answer that pools by the mean? It gets each location as a 1x1 feature map, whose mean is itself.

A network with a head that was trained on its tokens (VOLO, LV-ViT: `aux_head`) answers through that head instead.
"""

from __future__ import annotations

from typing import Any

import torch

from annotate.model.heads.head import Unfaithful
from annotate.model.heads.kept_tokens import all_tokens, drops_tokens
from annotate.model.heads.timm_head import TimmHead
from networks.locations import answers, has_token_head


class PooledMean(TimmHead):
    """The head of a network that pools the mean over its locations, or has a head for its tokens.

    Raises:
        Unfaithful: the head for tokens has no weights.
    """

    def __init__(self, model: Any) -> None:
        self.rule = "token head" if has_token_head(model) else "mean"
        if self.rule == "token head" and not model.aux_head.weight.any():
            raise Unfaithful(
                "its head for tokens is all zero, which is what a network of ours gets from a file without that head. "
                "Use weights that were trained with token labels"
            )
        super().__init__(model)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """What forward_features gives."""
        if drops_tokens(self._model):
            return all_tokens(self._model, pixels)
        return super().features(pixels)

    def of_mean(self, features: torch.Tensor) -> torch.Tensor | None:
        """What forward_head says of their mean."""
        return self.whole(self.layout.each(features).unflatten(0, (len(features), -1)).mean(1))

    def local(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """What forward_head says of each location as a picture of its own."""
        try:
            return answers(self._model, self.layout, features, grid)
        except ValueError as error:
            raise Unfaithful(str(error)) from error

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def frozen(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """The same, with the nonlinear layers after the pooling frozen."""
        locations = self.layout.each(features)
        _, seen = self._layers.record(lambda: self.whole(features))
        logits = self._layers.apply(seen, grid[0] * grid[1], lambda: self.whole(locations))
        return logits.reshape(len(features), *grid, -1)
