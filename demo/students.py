"""Who learns? Two small networks that classify a picture and each of its 6x6 tokens: an LV-ViT and a CNN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tokenlabel import Mix
from tokenlabel.models import ConvStem, LVViT

SIZE, TOKENS, CLASSES = (48, 48), (6, 6), 10
WIDTH = 64


SHAPE: dict[str, Any] = {
    "img_size": SIZE,
    "patch_size": 8,
    "embed_dim": WIDTH,
    "depth": 4,
    "num_heads": 2,
    "stem_dim": 8,
    "residual_divisor": 1.0,
}


def lvvit(**stem: Any) -> LVViT:
    """A tiny LV-ViT: width 64, depth 4; with the switches of its stem."""
    return LVViT(CLASSES, **SHAPE, **stem)


class ConvStudent(nn.Module):
    """A CNN with the same stem: residual blocks of a depthwise and a pointwise convolution (as in arXiv 2201.09792)."""

    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.stem = ConvStem(img_size=SIZE, patch_size=8, embed_dim=WIDTH, hidden=8)
        self.blocks = nn.Sequential(*(_ConvBlock(WIDTH) for _ in range(depth)))
        self.head = nn.Linear(WIDTH, CLASSES)
        self.aux_head = nn.Linear(WIDTH, CLASSES)

    def forward_features(self, pixels: torch.Tensor, mix: Mix | None = None) -> torch.Tensor:
        """The last map [b, WIDTH, 6, 6]."""
        tokens = self.stem(pixels)
        return self.blocks(tokens if mix is None else mix.tokens(tokens))

    def logits(self, pixels: torch.Tensor, mix: Mix | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the pictures [b, C] and of their tokens [b, t, C]."""
        x = self.forward_features(pixels, mix).flatten(2).transpose(1, 2)
        tokens = self.aux_head(x)
        return self.head(x.mean(1)), tokens if mix is None else mix.restored(tokens)


class _ConvBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.space = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width), nn.GELU(), nn.BatchNorm2d(width)
        )
        self.mixture = nn.Sequential(nn.Conv2d(width, width, 1), nn.GELU(), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mixture(x + self.space(x))


Student = LVViT | ConvStudent
STUDENTS: dict[str, Callable[[], Student]] = {"LV-ViT": lvvit, "CNN": ConvStudent}


def token_features(model: Student, pixels: torch.Tensor) -> torch.Tensor:
    """The input of the tokens' head, as a map: [b, WIDTH, 6, 6]."""
    features = model.forward_features(pixels)
    if isinstance(model, ConvStudent):
        return features
    return features[:, 1:].transpose(1, 2).unflatten(2, TOKENS)
