"""How do pixels become tokens in T2T-ViT? Overlapping patches are tokens; patches of these are tokens again, twice.

pixels    ──7x7, every 4──▶ [b, H/4 · W/4, 49 · 3]   ──layer──▶ 64 wide
          ──3x3, every 2──▶ [b, H/8 · W/8, 9 · 64]   ──layer──▶ 64 wide
          ──3x3, every 2──▶ [b, H/16 · W/16, 9 · 64] ──linear─▶ D wide
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import unfold

from tokenlabel.models.stem import Stem
from tokenlabel.models.t2t_vit.performer import PerformerLayer
from tokenlabel.models.t2t_vit.transformer import TransformerLayer

_WIDTH = 64


class TokensToToken(Stem):
    """Pixels [b, 3, H, W] -> tokens [b, width, H / 16, W / 16], as a map: figure 3 of arXiv 2101.11986.

    Args:
        img_size: height and width of the pictures.
        patch_size: 16, since the three steps are fixed.
        in_chans: channels of the pictures.
        embed_dim: width of a token.
        layer: what computes tokens of tokens.
        strict_img_size: whether pictures must have exactly img_size; otherwise any multiple of 16 is accepted.

    Raises:
        ValueError: a size that is not a multiple of 16; another patch; pictures of another size.
    """

    def __init__(
        self,
        *,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 384,
        layer: type[PerformerLayer] | type[TransformerLayer] = PerformerLayer,
        strict_img_size: bool = True,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        **_: object,  # timm's VisionTransformer asks a stem for a form of its output: ours is always a map
    ) -> None:
        if patch_size != 16:
            raise ValueError(f"T2T-ViT makes tokens of 16x16 pixels by its three steps, and no others: {patch_size}")
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__(
            img_size=img_size,
            patch_size=patch_size,
            in_chans=in_chans,
            embed_dim=embed_dim,
            strict_img_size=strict_img_size,
            **made,
        )
        self.attention1 = layer(49 * in_chans, _WIDTH, **made)
        self.attention2 = layer(9 * _WIDTH, _WIDTH, **made)
        self.project = nn.Linear(9 * _WIDTH, embed_dim, **made)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tokens as a map."""
        self.check(pixels)
        h, w = pixels.shape[-2:]
        x = self.attention1(unfold(pixels, 7, stride=4, padding=2).transpose(1, 2))
        x = self.attention2(_patches(x, (h // 4, w // 4)))
        x = self.project(_patches(x, (h // 8, w // 8)))
        return _as_map(x, (h // 16, w // 16))


def _as_map(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Tokens [b, h w, D], row by row, as a map [b, D, h, w]."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def _patches(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Patches of 3x3 tokens at every second one, [b, h/2 w/2, 9 D]: channel first, then row, then column."""
    return unfold(_as_map(tokens, grid), 3, stride=2, padding=1).transpose(1, 2)
