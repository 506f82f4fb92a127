"""Where are a network's locations in what its forward_features gives, and what does its own head say of each?

    pixels ──forward_features──▶ [b, C, h, w] ──▶ [b·h·w, C, 1, 1] ──forward_head──▶ [b·h·w, classes]

Pooling a 1x1 map changes nothing, so the head runs unchanged, with all its norms, layers and activations, and no family
of networks needs code of its own: features may be a map, NCHW or NHWC, or tokens behind a class token and registers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Locations:
    """How a network gives its locations.

    prefix:        tokens without a location, such as class and registers, which come first
    channels_last: whether a map is [b, h, w, C] instead of [b, C, h, w]
    stride:        pixels from one location to the next; None if the network does not say
    """

    prefix: int
    channels_last: bool
    stride: int | None

    @classmethod
    def of(cls, model: Any) -> Locations:
        """Those of a network with timm's forward_features and forward_head."""
        stages = getattr(model, "feature_info", None)
        return cls(
            prefix=getattr(model, "num_prefix_tokens", int(getattr(model, "cls_token", None) is not None)),
            channels_last=getattr(model, "output_fmt", "NCHW") == "NHWC",
            stride=stages[-1]["reduction"] * _merged(model) if stages else None,
        )

    def grid(self, features: Any, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the locations.

        Args:
            features: what forward_features made of pixels.
            size: height and width of these.

        Raises:
            ValueError: they form no grid; the message says why.
        """
        if not isinstance(features, torch.Tensor):
            raise ValueError("it answers from several sets of features, and not from one map")
        if features.ndim == 4:
            rows, columns = features.shape[1:3] if self.channels_last else features.shape[2:]
            return int(rows), int(columns)
        if features.ndim != 3:
            raise ValueError(f"its forward_features gives {features.ndim} axes, not a map or tokens")
        n = features.shape[1] - self.prefix
        stride = self.stride or math.isqrt(size[0] * size[1] // max(n, 1))
        # Some networks pad the pixels that are left at the edge, others drop them.
        for h, w in ([-(-side // stride) for side in size], [side // stride for side in size]):
            if h * w == n:
                return h, w
        raise ValueError(f"its {n} tokens form no grid of cells of {stride}x{stride} pixels")

    def each(self, features: torch.Tensor) -> torch.Tensor:
        """Each location as a 1x1 feature map, row by row: [b·h·w, C, 1, 1], or [b·h·w, 1, 1, C], or tokens."""
        if features.ndim == 3:
            tokens = features[:, self.prefix :].flatten(0, 1)
            return tokens[:, None].repeat(1, self.prefix + 1, 1)
        if self.channels_last:
            return features.flatten(0, 2)[:, None, None]
        return features.permute(0, 2, 3, 1).flatten(0, 2)[:, :, None, None]


def _merged(model: Any) -> int:
    """How many tokens of a row a network merges into one at its end (timm's encoders of language models)."""
    encoder = getattr(model, "encoder", None)
    for layer, number in (("merger", "merge_size"), ("aligner", "downsample_ratio")):
        if (found := getattr(encoder, layer, None)) is not None:
            return int(getattr(found, number))
    return 1


def has_token_head(model: Any) -> bool:
    """Whether a network has a head of its own for tokens (VOLO, LV-ViT), which answers in place of the other."""
    return isinstance(getattr(model, "aux_head", None), nn.Linear)


def head_answer(model: Any, features: torch.Tensor) -> torch.Tensor:
    """What a network's head says of features: [b, classes].

    Raises:
        ValueError: it gives something else.
    """
    answer: Any = model.forward_head(features)
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2:
        raise ValueError("its forward_head gives more than one vector of logits")
    return answer


def answers(model: Any, locations: Locations, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """What a network says of each location, by its head for tokens if it has one: [b, h, w, classes].

    Raises:
        ValueError: its head gives no logits.
    """
    if has_token_head(model):
        tokens: torch.Tensor = model.aux_head(features[:, locations.prefix :])
        return tokens.unflatten(1, grid)
    return head_answer(model, locations.each(features)).reshape(len(features), *grid, -1)
