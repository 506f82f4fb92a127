"""How does a head answer that pools by attention (SigLIP, SO400M, PE, CLIP's ResNets)? Its query asks one location."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import AttentionPool2d, AttentionPoolLatent, RotAttentionPool2d

from annotate.model.heads.held_attention import give, see
from annotate.model.heads.timm_head import TimmHead

POOLS = (AttentionPool2d, AttentionPoolLatent, RotAttentionPool2d)


class AttentionPool(TimmHead):
    """The head of a network whose learned query, or mean token, looks at all locations."""

    rule = "query"

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        # A pool for maps asks for its query and for each location; of a single location these are two rows.
        self._rows = max(2, *(getattr(module, "latent_len", 1) for module in model.modules()))

    def of_mean(self, features: torch.Tensor) -> None:
        """None: it weighs its locations."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def local(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """The query looks at each location alone."""
        _, held = see(self._model, self._rows, grid[0] * grid[1], lambda: self.whole(features))
        logits = give(self._model, held.local(), lambda: self.whole(self.layout.each(features)))
        return logits.reshape(len(features), *grid, -1)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def frozen(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """Each location's own part, N times, with attention, norms and activations held."""
        count = grid[0] * grid[1]
        (_, held), seen = self._layers.record(lambda: see(self._model, self._rows, count, lambda: self.whole(features)))
        logits = self._layers.apply(
            seen,
            count,
            lambda: give(self._model, held.frozen(), lambda: self.whole(self.layout.each(features))),
        )
        return logits.reshape(len(features), *grid, -1)
