"""How do pixels become tokens? By convolutions at a lower resolution, and a projection of their patches."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from tokenlabel.models.stem import Stem


class ConvStem(Stem):
    """Pixels [b, 3, H, W] -> tokens [b, width, H / patch, W / patch], as a map.

    By default that of table 2 of arXiv 2104.10858: a convolution of 7x7 with stride 2 and two of 3x3, each with batch
    norm and ReLU (the scaled ReLU of arXiv 2109.03810), then a projection of patch/2 x patch/2. Each part can be left
    out: `strides=()` leaves the projection of plain patches.

    Args:
        img_size: height and width of the pictures.
        patch_size: side of a token, pixels; a multiple of the product of the strides.
        in_chans: channels of the pictures.
        embed_dim: width of a token.
        hidden: channels of the convolutions.
        strides: of the convolutions, as many as there are; the first is of 7x7, the others of 3x3.
        norm: whether a batch norm follows: each convolution, or one answer for each. Without it the convolution has a
            bias.
        relu: whether a ReLU follows, likewise.
        strict_img_size: whether pictures must have exactly img_size; otherwise any multiple of the patch is accepted.

    Raises:
        ValueError: strides that do not divide the patch, or another number of answers than of strides; a size that is
            not a multiple of the patch; pictures of another size.
    """

    def __init__(
        self,
        *,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 384,
        hidden: int = 64,
        strides: tuple[int, ...] = (2, 1, 1),
        norm: bool | tuple[bool, ...] = True,
        relu: bool | tuple[bool, ...] = True,
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
        reduction = math.prod(strides)
        if min(strides, default=1) < 1 or patch_size % reduction:
            raise ValueError(
                f"the stem's strides {strides} must be at least 1 and divide its patch, so that whole pixels are left "
                f"to project: the patch must be a multiple of {reduction}, not {patch_size}"
            )
        norms, self.relus = _each(norm, len(strides), "norm"), _each(relu, len(strides), "relu")
        channels = in_chans
        for number, (stride, normed) in enumerate(zip(strides, norms, strict=True), 1):
            side = 7 if number == 1 else 3
            conv = nn.Conv2d(channels, hidden, side, stride=stride, padding=side // 2, bias=not normed, **made)
            setattr(self, f"conv{number}", conv)
            setattr(self, f"bn{number}", nn.BatchNorm2d(hidden, **made) if normed else nn.Identity())
            channels = hidden
        left = patch_size // reduction
        self.proj = nn.Conv2d(channels, embed_dim, left, stride=left, **made)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tokens as a map."""
        self.check(pixels)
        x = pixels
        for number, rectified in enumerate(self.relus, 1):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
            if rectified:
                x = x.relu()
        tokens: torch.Tensor = self.proj(x)
        return tokens


def _each(answer: bool | tuple[bool, ...], count: int, name: str) -> tuple[bool, ...]:
    """One answer for each convolution."""
    answers = (answer,) * count if isinstance(answer, bool) else tuple(answer)
    if len(answers) != count:
        raise ValueError(f"{name} must be one answer, or one for each of the {count} convolutions, not {answer}")
    return answers
