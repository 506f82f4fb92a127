"""Which student does the paper train? A vision transformer with a convolution stem and a second head for its tokens.

LV-ViT (arXiv 2104.10858, section 3): timm's VisionTransformer, with a stem of convolutions, residual branches divided
by λ, and two linear heads after the last norm: one for the class token, one for every patch token.

Its published sizes are in published_sizes.py.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import timm.models.vision_transformer as vit
import torch
from timm.layers import resample_abs_pos_embed, trunc_normal_
from timm.models import checkpoint_seq
from torch import nn

from tokenlabel.mixing.mix import Mix
from tokenlabel.models.conv_stem import ConvStem


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


def combined_logits(picture: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The logits to classify by, [b, C]: those of the picture, and half of the best token's logits for each class.

    Args:
        picture: logits [b, C].
        tokens: logits [b, t, C].
    """
    return picture + 0.5 * tokens.amax(1)


class LVViT(vit.VisionTransformer):
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
        patch_size: side of a token, pixels; even.
        embed_dim, depth, num_heads, mlp_ratio: of the transformer.
        stem_dim: channels of the stem.
        residual_divisor: the paper's λ.
        global_pool: "token"; or "" for features of all tokens.
        dynamic_img_size: whether pictures may have any size; positions are resampled for each batch.
        drop_rate, pos_drop_rate, proj_drop_rate, attn_drop_rate: of dropout.
        drop_path_rate: of stochastic depth in the last block; it grows linearly to that.

    Raises:
        ValueError: a size that is not a multiple of the patch; an odd patch; another pooling.
    """

    cls_token: nn.Parameter
    pos_embed: nn.Parameter
    head: nn.Module
    aux_head: nn.Module

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
        residual_divisor: float = 2.0,
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
        _refuse_pooling(global_pool)
        super().__init__(
            img_size=img_size,
            patch_size=patch_size,
            in_chans=in_chans,
            num_classes=num_classes,
            global_pool=global_pool,
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
            weight_init="skip",
            embed_layer=partial(ConvStem, hidden=stem_dim),
            # PyTorch's own epsilon, 1e-5, not timm's 1e-6: the published weights were trained with it.
            norm_layer=nn.LayerNorm,
            block_fn=partial(Block, residual_divisor=residual_divisor),
            device=device,
            dtype=dtype,
        )
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.aux_head = nn.Linear(embed_dim, num_classes, **made) if num_classes else nn.Identity()
        self.init_weights(needs_reset=False)
        self.register_state_dict_post_hook(_say_grid)
        self.register_load_state_dict_pre_hook(_fit_positions)

    def forward(self, pixels: torch.Tensor, mix: Mix | None = None) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """In training mode, the logits of the pictures [b, C] and of their tokens [b, t, C]; else those to classify by.

        Without classes, features as `forward_head` gives them.
        """
        if self.training and self.num_classes:
            return self.logits(pixels, mix)
        return self.forward_head(self.forward_features(pixels, mix))

    def logits(self, pixels: torch.Tensor, mix: Mix | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the pictures [b, C] and of their tokens [b, t, C], row by row.

        With MixToken (section 3.2) a batch's tokens are mixed after the stem, and the logits of swapped tokens are
        given back to their own pictures, as `mix` says.
        """
        x = self.head_drop(self.forward_features(pixels, mix))
        of_tokens = self.aux_head(x[:, 1:])
        return self.head(x[:, 0]), of_tokens if mix is None else mix.restored(of_tokens)

    def forward_features(self, pixels: torch.Tensor, mix: Mix | None = None) -> torch.Tensor:
        """The class token and the patch tokens after the last norm: [b, 1 + t, D]."""
        tokens = self.patch_embed(pixels)
        x = self._pos_embed(tokens if mix is None else mix.tokens(tokens))
        x = checkpoint_seq(self.blocks, x) if self.grad_checkpointing else self.blocks(x)
        features: torch.Tensor = self.norm(x)
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """The logits to classify by, [b, C]; see `combined_logits`.

        Args:
            x: [b, 1 + t, D], of `forward_features`.
            pre_logits: give features instead: the class token [b, D], or all tokens where pooling is "".
        """
        pooled: torch.Tensor = self.head_drop(self.pool(x))
        if pre_logits or not self.num_classes:
            return pooled
        return combined_logits(self.head(self.head_drop(x[:, 0])), self.aux_head(x[:, 1:]))

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        """The heads of the picture and of the tokens."""
        return self.head, self.aux_head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """New heads for another number of classes; 0 for none.

        Raises:
            ValueError: a pooling that is neither "token" nor "".
        """
        _refuse_pooling(global_pool or "")
        super().reset_classifier(num_classes, global_pool)
        self.aux_head = nn.Linear(self.embed_dim, num_classes) if num_classes else nn.Identity()
        self.aux_head.to(self.pos_embed).train(self.training)
        for head in self.get_classifier():
            _initialise(head)

    def set_input_size(
        self, img_size: int | tuple[int, int] | None = None, patch_size: int | tuple[int, int] | None = None
    ) -> None:
        """Accept pictures of another size from now on; positions are resampled.

        Raises:
            ValueError: a size that is not a multiple of the patch; another patch.
        """
        before, positions = self.patch_embed.grid_size, self.pos_embed
        super().set_input_size(img_size, patch_size)
        if self.patch_embed.grid_size != before:
            resampled = _resampled(positions.detach(), before, self.patch_embed.grid_size)
            self.pos_embed = nn.Parameter(resampled, requires_grad=positions.requires_grad)

    def init_weights(self, mode: str = "", needs_reset: bool = True) -> None:
        """Initialise weights as in the paper; with needs_reset, also those that the paper leaves to PyTorch.

        `mode` is timm's, and has no effect.
        """
        for module in self.modules():
            if needs_reset and hasattr(module, "reset_parameters"):
                module.reset_parameters()
            _initialise(module)
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)

    def _pos_embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """A map of tokens [b, D, h, w] -> [b, 1 + h w, D], with the class token in front and positions added."""
        grid = tuple(tokens.shape[-2:])
        positions: torch.Tensor = self.pos_embed
        if grid != self.patch_embed.grid_size:
            positions = _resampled(positions, self.patch_embed.grid_size, grid)
        x = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens.flatten(2).transpose(1, 2)], 1)
        positioned: torch.Tensor = self.pos_drop(x + positions)
        return positioned


def _refuse_pooling(global_pool: str) -> None:
    if global_pool not in ("token", ""):
        raise ValueError(
            f'LV-ViT classifies by its class token: global_pool must be "token" or "", not {global_pool!r}'
        )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _resampled(positions: torch.Tensor, old: tuple[int, ...], new: tuple[int, ...]) -> torch.Tensor:
    # Without antialias, the default of PyTorch's interpolate: the published larger models were made this way.
    resampled: torch.Tensor = resample_abs_pos_embed(positions, list(new), list(old), antialias=False)
    return resampled


def _say_grid(model: LVViT, state: dict[str, torch.Tensor], prefix: str, metadata: dict[str, Any]) -> None:
    """Note the grid of the positions beside the weights: their number alone does not tell 4x9 from 6x6."""
    metadata["grid"] = list(model.patch_embed.grid_size)


def _fit_positions(
    model: LVViT, state: dict[str, torch.Tensor], prefix: str, metadata: dict[str, Any], *_: object
) -> None:
    """Resample positions of another grid before they are loaded; PyTorch refuses those of other shapes."""
    positions, own, grid = state.get(f"{prefix}pos_embed"), model.pos_embed, model.patch_embed.grid_size
    if positions is None or positions.ndim != own.ndim:
        return
    side = math.isqrt(positions.shape[1] - 1)
    before = tuple(metadata.get("grid", (side, side)))
    if "grid" not in metadata and positions.shape[1] == own.shape[1] and grid[0] != grid[1]:
        warnings.warn(
            f"the weights do not say which grid their {positions.shape[1] - 1} positions "
            f"are of: {grid[0]}x{grid[1]} was assumed, as this model has",
            stacklevel=2,
        )
        return
    if before != grid and math.prod(before) == positions.shape[1] - 1:
        state[f"{prefix}pos_embed"] = _resampled(positions, before, grid)
