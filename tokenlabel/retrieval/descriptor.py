"""What describes a picture? The class token of a transformer, or its tokens pooled; of unit length."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn.functional import normalize

from tokenlabel.errors import LabelError
from tokenlabel.models.visual_transformer.trunk import VisualTokenStudent
from tokenlabel.retrieval.whitening import Whitening

Pooling = Literal["token", "mean", "max", "gem"]
_LEAST = 1e-6


class Descriptor(nn.Module):
    """Pixels [b, 3, H, W] -> descriptors float32 [b, D] of unit length, without a head of its own.

    Args:
        network: any network of timm's whose `forward_features` gives tokens or a map; its classifier is not used.
        pooling: "token": the class token after the last norm, the paper's; or of all other tokens "mean", "max", or
            "gem", the generalised mean (1/t Σ x^p)^(1/p) of what is positive.
        power: p of "gem".
        whitening: makes descriptors shorter; None for those of the network.

    Raises:
        LabelError: another pooling, or "token" of a network without a class token; a power that is not positive.

    Example:
        >>> import timm
        >>> describe = Descriptor(timm.create_model("test_vit", num_classes=0, img_size=32))
        >>> describe(torch.zeros(2, 3, 32, 32)).norm(dim=1).allclose(torch.ones(2))
        True
    """

    network: Any  # an nn.Module with timm's forward_features

    def __init__(
        self,
        network: nn.Module,
        *,
        pooling: Pooling = "token",
        power: float = 3.0,
        whitening: Whitening | None = None,
    ) -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise LabelError(f"pooling must be one of {', '.join(get_args(Pooling))}, not {pooling!r}")
        if not power > 0:
            raise LabelError(f"the power of a generalised mean must be positive, not {power}; 3 is usual")
        self._prefix: int = getattr(network, "num_prefix_tokens", int(getattr(network, "cls_token", None) is not None))
        if pooling == "token" and getattr(network, "cls_token", None) is None:
            raise LabelError(
                f'{type(network).__name__} has no class token; give pooling="mean", "max" or "gem", or another network'
            )
        self.network, self.pooling, self.power, self.whitening = network, pooling, power, whitening
        self._channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"

    @property
    def width(self) -> int:
        """D."""
        return int(self.network.num_features if self.whitening is None else self.whitening.projection.shape[1])

    def forward(self, pixels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """The descriptors.

        Args:
            pixels: float [b, 3, H, W].
            weights: float [b, t] of the tokens row by row, which sum to 1, such as `label_weights`; for "mean" and
                "gem". None where all weigh the same.

        Raises:
            LabelError: weights of another number of tokens, or for another pooling; the network's features are neither
                tokens nor a map, or a class token alone, which is not to be pooled.
        """
        features = self._features(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            pooled = self._pooled(features.to(torch.promote_types(features.dtype, torch.float32)), weights)
            normed = getattr(self.network, "fc_norm", nn.Identity())  # timm's norm after pooling, where it has one
            described = normalize(normed(pooled), dim=1)
            return described if self.whitening is None else self.whitening(described)

    @torch.no_grad()
    def token_grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of its tokens for pictures of this size, of which weights are a list row by row.

        Raises:
            LabelError: the network does not say it.
        """
        like = next(self.network.parameters())
        training = self.network.training
        self.network.eval()
        features = self._features(like.new_zeros(1, 3, *size))
        self.network.train(training)
        if features.ndim == 4:
            rows, columns = features.shape[1:3] if self._channels_last else features.shape[2:]
            return int(rows), int(columns)
        grid = getattr(getattr(self.network, "patch_embed", None), "grid_size", None)
        if grid is None or grid[0] * grid[1] != features.shape[1] - self._prefix:
            raise LabelError(
                f"{type(self.network).__name__} does not say how its tokens lie in the picture, which pooling by "
                "labels needs; take another network, or pool without labels"
            )
        return int(grid[0]), int(grid[1])

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Tokens [b, t, D], or a map, before pooling."""
        features: Any = self.network.forward_features(pixels)
        if isinstance(self.network, VisualTokenStudent):
            features, _map = features  # visual tokens: what it classifies by
        if not isinstance(features, torch.Tensor) or features.ndim not in (3, 4):
            raise LabelError(
                f"{type(self.network).__name__} gives neither tokens nor a map, which a descriptor is made of; take "
                "another network"
            )
        return features

    def _pooled(self, features: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        if weights is not None and self.pooling not in ("mean", "gem"):
            raise LabelError(f'tokens are weighted by pooling="mean" or "gem", not by {self.pooling!r}')
        if self.pooling == "token":
            return features[:, 0]
        if features.ndim == 3:
            tokens = features[:, self._prefix :]
        else:
            tokens = features.flatten(1, 2) if self._channels_last else features.flatten(2).transpose(1, 2)
        if not tokens.shape[1]:
            raise LabelError(f'{type(self.network).__name__} gives its class token alone; give pooling="token"')
        if self.pooling == "max":
            return tokens.amax(1)
        if weights is None:
            weights = tokens.new_full(tokens.shape[:2], 1 / tokens.shape[1])
        if weights.shape != tokens.shape[:2]:
            raise LabelError(
                f"weights {list(weights.shape)} were given for tokens {list(tokens.shape[:2])}; make targets for the "
                "grid that `token_grid` says"
            )
        weights = weights.to(tokens.dtype)[:, None]
        if self.pooling == "mean":
            return (weights @ tokens)[:, 0]
        return (weights @ tokens.clamp(min=_LEAST) ** self.power)[:, 0] ** (1 / self.power)
