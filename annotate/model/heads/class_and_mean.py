"""How does a head answer that takes the class token and the mean of the others (DINOv2's and DINOv3's probes)?

Each location stands for the mean beside the picture's own class token: W_c · class + W_p · x_i + b.
"""

from __future__ import annotations

import torch

from annotate.model.heads.timm_head import TimmHead


class ClassAndMean(TimmHead):
    """The head of a network that classifies its class token and the mean over its locations together."""

    rule = "class token and mean"

    def of_mean(self, features: torch.Tensor) -> torch.Tensor:
        """What it says of the class token and a single location, the mean of all."""
        prefix = self.layout.prefix
        return self.whole(torch.cat([features[:, :prefix], features[:, prefix:].mean(1, keepdim=True)], 1))

    def local(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """What it says of the class token and each location alone."""
        return self.whole(self._each(features)).reshape(len(features), *grid, -1)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def frozen(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """The same, with the nonlinear layers after the pooling frozen."""
        _, seen = self._layers.record(lambda: self.whole(features))
        logits = self._layers.apply(seen, grid[0] * grid[1], lambda: self.whole(self._each(features)))
        return logits.reshape(len(features), *grid, -1)

    def _each(self, features: torch.Tensor) -> torch.Tensor:
        """For each location the picture's own prefix and this location: [b·N, prefix + 1, C]."""
        own, locations = features[:, : self.layout.prefix], features[:, self.layout.prefix :]
        prefix = own.repeat_interleave(locations.shape[1], 0)
        return torch.cat([prefix, locations.flatten(0, 1)[:, None]], 1)
