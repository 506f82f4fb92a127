"""Which students are compared side by side? One of each kind that learns from token labels, at the demo's size.

Each has 6x6 tokens of pictures at 48x48. Those whose tokens are of 16 pixels read the same pictures enlarged to 96x96.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import nn
from torch.nn.functional import interpolate

from demo.students import CLASSES, SHAPE, SIZE, TOKENS, WIDTH, ConvStudent, lvvit, token_features
from tokenlabel import Mix
from tokenlabel.models import DynamicViT, T2TViT

LARGE = (2 * SIZE[0], 2 * SIZE[1])
DROPS_TOKENS = "DynamicViT of that LV-ViT"
# A ResNet of one block a stage, and narrow: small enough for this study.
_RESNET = {"layers": (1, 1, 1), "channels": (16, 32, WIDTH), "token_count": 8}


class Enlarged(nn.Module):
    """A student of pictures twice as large, which reads them enlarged."""

    def __init__(self, student: Any) -> None:
        super().__init__()
        self.student = student

    def logits(self, pixels: torch.Tensor, mix: Mix | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the pictures [b, C] and of their tokens [b, t, C]."""
        return self.student.logits(interpolate(pixels, LARGE, mode="bilinear"), mix)

    def token_map(self, pixels: torch.Tensor) -> torch.Tensor:
        """The last map of tokens, which the head for tokens reads: [b, D, 6, 6]."""
        large = interpolate(pixels, LARGE, mode="bilinear")
        return self.student.forward_intermediates(large, indices=1, norm=True, intermediates_only=True)[-1]


def dynamic_vit(base: Any) -> DynamicViT:
    """A DynamicViT with the weights of a trained LV-ViT, which keeps 25, 17 and 12 of 36 tokens."""
    student = DynamicViT(CLASSES, **SHAPE, keep_ratio=0.7, sites=(1, 2, 3))
    student.load_state_dict(base.state_dict())
    return student


def _t2t_vit() -> Enlarged:
    return Enlarged(T2TViT(CLASSES, img_size=LARGE, embed_dim=WIDTH, depth=4, num_heads=2))


def _vt_resnet() -> Enlarged:
    return Enlarged(timm.create_model("vt_resnet18", num_classes=CLASSES, img_size=LARGE, **_RESNET))


def kinds() -> dict[str, Callable[[], Any]]:
    """A function that makes each student, by name; DynamicViT is made of the first one, and has none."""
    made: dict[str, Callable[[], Any]] = {
        "LV-ViT": lvvit,
        "plain ViT": partial(lvvit, stem_strides=()),
        "CNN": ConvStudent,
        "T2T-ViT": _t2t_vit,
    }
    if timm.is_model("vt_resnet18"):
        made["VT-ResNet"] = _vt_resnet
    return made


def features_of(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The features of the tokens as a map [b, D, 6, 6]; those of dropped tokens are 0."""
    if isinstance(model, Enlarged):
        return model.token_map(pixels)
    if isinstance(model, DynamicViT):
        features, positions = model.kept_features(pixels)
        b, _, width = features.shape
        where = positions[..., None].expand(-1, -1, width)
        tokens = features.new_zeros(b, TOKENS[0] * TOKENS[1], width).scatter(1, where, features[:, 1:])
        return tokens.transpose(1, 2).unflatten(2, TOKENS)
    return token_features(model, pixels)
