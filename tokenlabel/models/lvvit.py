"""Which student does the paper train? A vision transformer with a convolution stem and a second head for its tokens.

LV-ViT (arXiv 2104.10858, section 3): timm's VisionTransformer, with a stem of convolutions, residual branches divided
by λ, and two linear heads after the last norm: one for the class token, one for every patch token.

Its published sizes are in published_sizes.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import timm.models.vision_transformer as vit
import torch
from torch import nn

from tokenlabel.models.conv_stem import ConvStem
from tokenlabel.models.token_vit import TokenViT


class Divide(nn.Module):
    """x / λ."""

    def __init__(self, divisor: float) -> None:
        super().__init__()
        self.divisor = divisor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same divided by λ."""
        return x / self.divisor

    def extra_repr(self) -> str:
        """For print(model)."""
        return f"{self.divisor:g}"


class Block(vit.Block):
    """x + attention(norm(x)) / λ, then x + mlp(norm(x)) / λ: equation 2 of the paper.

    timm's block, whose learnt scale of a branch is here the fixed 1/λ. At λ = 1 it computes exactly what timm's does.
    """

    def __init__(self, *args: Any, residual_divisor: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ls1, self.ls2 = Divide(residual_divisor), Divide(residual_divisor)


class LVViT(TokenViT):
    """A student that classifies the picture and each token.

    In training mode it gives the logits of both heads, as the loss takes them: `(picture, tokens)`. In evaluation mode
    it gives the logits to classify by, see `combined_logits`. `logits` gives both heads in any mode.

    Weights of another input size load too: positions are resampled (bicubic) to the model's own grid. A state dict of
    ours says in its metadata which grid they are of; in one that does not, they are of a square grid, or of the
    model's own if that is not square and has as many tokens, which a warning says.

    Args:
        num_classes: C; 0 for features.
        img_size: height and width of its input, pixels; multiples of the patch.
        in_chans: channels of its input.
        patch_size: side of a token, pixels; a multiple of the product of the stem's strides.
        embed_dim, depth, num_heads, mlp_ratio: shape of the transformer.
        stem_dim: channels of the stem.
        stem_strides, stem_norm, stem_relu: what the stem's convolutions have, see `ConvStem`; stem_strides=() for plain
            patches.
        residual_divisor: the paper's λ.
        token_share: weight of the best token's logits in the answer, see `combined_logits`; 0 for the class head alone.
        global_pool: "token"; or "" for features of all tokens.
        dynamic_img_size: whether pictures may have any size; positions are resampled for each batch.
        drop_rate, pos_drop_rate, proj_drop_rate, attn_drop_rate: probabilities of dropout.
        drop_path_rate: probability of stochastic depth in the last block; it grows linearly to that.

    Raises:
        ValueError: a size that is not a multiple of the patch; a patch that is not one of the stem's strides; another
            pooling.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        patch_size: int = 16,
        embed_dim: int = 384,
        depth: int = 16,
        num_heads: int = 6,
        mlp_ratio: float = 3.0,
        stem_dim: int = 64,
        stem_strides: tuple[int, ...] = (2, 1, 1),
        stem_norm: bool | tuple[bool, ...] = True,
        stem_relu: bool | tuple[bool, ...] = True,
        residual_divisor: float = 2.0,
        token_share: float = 0.5,
        global_pool: str = "token",
        dynamic_img_size: bool = False,
        drop_rate: float = 0.0,
        pos_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            img_size=img_size,
            patch_size=patch_size,
            in_chans=in_chans,
            global_pool=global_pool,
            token_share=token_share,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=False,
            dynamic_img_size=dynamic_img_size,
            drop_rate=drop_rate,
            pos_drop_rate=pos_drop_rate,
            proj_drop_rate=proj_drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            embed_layer=partial(ConvStem, hidden=stem_dim, strides=stem_strides, norm=stem_norm, relu=stem_relu),
            # PyTorch's own epsilon, 1e-5, not timm's 1e-6: the published weights were trained with it.
            norm_layer=nn.LayerNorm,
            block_fn=partial(Block, residual_divisor=residual_divisor),
            device=device,
            dtype=dtype,
        )
