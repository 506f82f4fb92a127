"""How do pixels become tokens? Three convolutions at half resolution, and a projection of their patches."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tokenlabel.models.stem import Stem


class ConvStem(Stem):
    """Pixels [b, 3, H, W] -> tokens [b, width, H / patch, W / patch], as a map.

    Table 2 of arXiv 2104.10858: a convolution of 7x7 with stride 2 and two of 3x3, each with batch norm and ReLU, then
    a projection of patch/2 x patch/2.

    Args:
        img_size: height and width of the pictures.
        patch_size: side of a token, pixels; even.
        in_chans: channels of the pictures.
        embed_dim: width of a token.
        hidden: channels of the three convolutions.
        strict_img_size: whether pictures must have exactly img_size; otherwise any multiple of the patch is accepted.

    Raises:
        ValueError: an odd patch; a size that is not a multiple of the patch; pictures of another size.
    """

    def __init__(
        self,
        *,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 384,
        hidden: int = 64,
        strict_img_size: bool = True,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        **_: object,  # timm's VisionTransformer asks a stem for a form of its output: ours is always a map
    ) -> None:
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__(
            img_size=img_size,
            patch_size=patch_size,
            in_chans=in_chans,
            embed_dim=embed_dim,
            strict_img_size=strict_img_size,
            **made,
        )
        if patch_size % 2:
            raise ValueError(f"the stem halves the picture first, so its patch must be even, not {patch_size}")
        self.conv1 = nn.Conv2d(in_chans, hidden, 7, stride=2, padding=3, bias=False, **made)
        self.bn1 = nn.BatchNorm2d(hidden, **made)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False, **made)
        self.bn2 = nn.BatchNorm2d(hidden, **made)
        self.conv3 = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False, **made)
        self.bn3 = nn.BatchNorm2d(hidden, **made)
        self.proj = nn.Conv2d(hidden, embed_dim, patch_size // 2, stride=patch_size // 2, **made)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tokens as a map."""
        self.check(pixels)
        x = self.bn1(self.conv1(pixels)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.bn3(self.conv3(x)).relu()
        tokens: torch.Tensor = self.proj(x)
        return tokens
