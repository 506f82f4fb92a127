"""Which student answers for every fourth pixel? VT-FPN: visual tokens of four levels, and a head for each place.

    layer1 … layer4 ──1x1──▶ four levels of one width ──8 tokens of each──▶ one transformer over all 32
         each level + what its places read of the 32 tokens ──semantic branch──▶ map at 1/4 of the pixels ──▶ aux_head

Its tokens are places of 4x4 pixels: `LabeledImages(…, tokens=student.token_grid)` reads their targets from the store.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn
from torch.nn.functional import interpolate

from tokenlabel.models.visual_transformer.module import Projector, TokenTransformer
from tokenlabel.models.visual_transformer.tokenizers import FilterTokenizer
from tokenlabel.models.visual_transformer.trunk import Features, VisualTokenStudent

_LEVELS = 4


class VTFPN(VisualTokenStudent):
    """VT-FPN (arXiv 2006.03677) as a `Student` whose tokens are the places of a map at a quarter of the pixels.

    The picture is classified by the mean of the visual tokens, which is ours: the paper's is a network for segmentation
    alone. The branch above the levels is Panoptic FPN's (arXiv 1901.02446). MixToken swaps places of the stem's map.

    Args:
        num_classes: C; 0 for features.
        block: timm's block of the ResNet.
        layers: blocks of each of the four stages.
        channels: channels of each, before the block's expansion.
        width: channels of every level.
        branch_width: channels of the branch, and of the map.
        token_count: visual tokens of each level.
        token_width: of a visual token.
        heads: of attention; 1 as in the equations.
        img_size: height and width of its input, pixels; multiples of 32.
        in_chans: channels of its input.
        token_share: part of the best place's logits in the answer, see `combined_logits`.
        drop_rate: of dropout before the picture's head.
        drop_path_rate: of stochastic depth in the ResNet.

    Raises:
        ValueError: a size that is not a multiple of 32; a width that heads do not divide.
    """

    multiple, stride, mixed = 32, 4, 1

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        block: type[BasicBlock] | type[Bottleneck] = Bottleneck,
        layers: tuple[int, int, int, int] = (3, 4, 6, 3),
        channels: tuple[int, int, int, int] = (64, 128, 256, 512),
        width: int = 256,
        branch_width: int = 128,
        token_count: int = 8,
        token_width: int = 1024,
        heads: int = 1,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        token_share: float = 0.5,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__(
            block,
            layers,
            num_classes=0,
            in_chans=in_chans,
            channels=channels,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            **made,
        )
        of_levels = [stage["num_chs"] for stage in self.feature_info[1:]]
        self.laterals = nn.ModuleList(nn.Conv2d(count, width, 1, **made) for count in of_levels)
        self.tokenizers = nn.ModuleList(
            FilterTokenizer(width, token_count, width=token_width, value=True, **made) for _ in range(_LEVELS)
        )
        self.transformer = TokenTransformer(token_width, heads=heads, value=False, **made)
        self.projectors = nn.ModuleList(
            Projector(width, width=token_width, heads=heads, value=True, **made) for _ in range(_LEVELS)
        )
        # A level at 1 / (4 · 2^n) of the pixels is enlarged n times.
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(_Enlarging(branch_width if step else width, branch_width, n > 0, **made) for step in range(max(n, 1)))
            )
            for n in range(_LEVELS)
        )
        self._finish(num_classes, img_size, token_width, branch_width, token_share)

    def segment(self, pixels: torch.Tensor) -> torch.Tensor:
        """The logits of each pixel, [b, C, H, W]: those of the places, bilinearly enlarged."""
        _, tokens = self.logits(pixels)
        height, width = pixels.shape[-2:]
        places = tokens.transpose(1, 2).unflatten(2, (height // self.stride, width // self.stride))
        return interpolate(places, (height, width), mode="bilinear", align_corners=False)

    def _top(self, stages: list[torch.Tensor]) -> Features:
        levels = [lateral(stage) for lateral, stage in zip(self.laterals, stages[1:], strict=True)]
        grids = [level.shape[-2:] for level in levels]
        places = [level.flatten(2).transpose(1, 2) for level in levels]
        tokens = [tokenizer(x) for tokenizer, x in zip(self.tokenizers, places, strict=True)]
        visual: torch.Tensor = self.transformer(torch.cat(tokens, 1))
        parts = []
        for x, grid, projector, branch in zip(places, grids, self.projectors, self.branches, strict=True):
            parts.append(branch(projector(x, visual).transpose(1, 2).unflatten(2, grid)))
        return visual, torch.stack(parts).sum(0)


class _Enlarging(nn.Module):
    """3x3 convolution, group norm and ReLU; and twice the rows and columns."""

    def __init__(self, width_in: int, width: int, larger: bool, **made: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, 3, padding=1, bias=False, **made)
        self.norm = nn.GroupNorm(math.gcd(32, width), width, **made)
        self.larger = larger

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x)).relu()
        return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) if self.larger else x
