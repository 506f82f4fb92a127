"""Does every student keep the contract? Our own models, and the most used networks of timm with a head for tokens."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from tests.tokenlabel.models.contract import CLASSES, StudentContract
from tokenlabel.models import LVViT, with_token_head


def network(name: str, size: tuple[int, int] | None = None, **options: Any) -> Any:
    """A student made of a network of timm's, with random weights in its head for tokens."""
    kwargs = {"img_size": size} if options.pop("sized", False) else {}
    student = with_token_head(timm.create_model(name, num_classes=CLASSES, **kwargs, **options), img_size=size)
    nn.init.normal_(student.aux_head.weight, std=0.1)
    return student


class TestLVViT(StudentContract):
    def make(self, size: tuple[int, int]) -> Any:
        return LVViT(CLASSES, img_size=size, embed_dim=24, depth=2, num_heads=2, stem_dim=8)


class TestViT(StudentContract):
    def make(self, size: tuple[int, int]) -> Any:
        return network("vit_small_patch16_224", size, sized=True, depth=2)


class TestSwin(StudentContract):
    def make(self, size: tuple[int, int]) -> Any:
        options = {"depths": (1, 1, 1, 1), "embed_dim": 24, "window_size": 2}
        return network("swin_tiny_patch4_window7_224", size, sized=True, **options)


class TestResNet(StudentContract):
    def make(self, size: tuple[int, int]) -> Any:
        return network("resnet50", size, layers=(1, 1, 1, 1))


class TestConvNeXt(StudentContract):
    def make(self, size: tuple[int, int]) -> Any:
        return network("convnext_tiny", size, depths=(1, 1, 1, 1), dims=(24, 24, 24, 24))
