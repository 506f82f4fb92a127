"""How does timm's vision transformer become a student? By a second head, after the last norm, for its patch tokens.

What LV-ViT and the other students that are vision transformers share.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import timm.models.vision_transformer as vit
import torch
from timm.layers import resample_abs_pos_embed, trunc_normal_
from timm.models import checkpoint_seq
from torch import nn

from tokenlabel.mixing.mix import Mix
from tokenlabel.models.student import combined_logits


class TokenViT(vit.VisionTransformer):
    """A `Student`: timm's VisionTransformer with two linear heads, one for the class token, one for every patch token.

    In training mode it gives the logits of both heads, as the loss takes them: `(picture, tokens)`. In evaluation mode
    it gives the logits to classify by, see `combined_logits`. `logits` gives both heads in any mode.

    Weights of another input size load too: positions of a square grid are resampled (bicubic) to the model's own.

    Args:
        num_classes: C; 0 for features.
        global_pool: "token"; or "" for features of all tokens.
        token_share: part of the best token's logits in the answer, see `combined_logits`; 0 for the class head alone.
        options: of timm's VisionTransformer; its embed_layer gives a map, as `Stem` does.

    Raises:
        ValueError: another pooling.
    """

    cls_token: nn.Parameter
    pos_embed: nn.Parameter
    head: nn.Module
    aux_head: nn.Module

    def __init__(
        self,
        num_classes: int,
        *,
        global_pool: str,
        token_share: float,
        device: torch.device | None,
        dtype: torch.dtype | None,
        **options: Any,
    ) -> None:
        _refuse_pooling(global_pool)
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__(num_classes=num_classes, global_pool=global_pool, weight_init="skip", **options, **made)
        self.aux_head = nn.Linear(self.embed_dim, num_classes, **made) if num_classes else nn.Identity()
        self.token_share = token_share
        self.init_weights(needs_reset=False)
        self.register_state_dict_post_hook(_say_grid)
        self.register_load_state_dict_pre_hook(_take_names_of_token_head)
        self.register_load_state_dict_pre_hook(_fit_positions)

    @property
    def token_grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens, for pictures of the size that it was made for."""
        grid: tuple[int, int] = self.patch_embed.grid_size
        return grid

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
        return combined_logits(self.head(self.head_drop(x[:, 0])), self.aux_head(x[:, 1:]), self.token_share)

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
            initialise(head)

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
        """Initialise weights as in the papers; with needs_reset, also those that they leave to PyTorch.

        `mode` is timm's, and has no effect.
        """
        for module in self.modules():
            if needs_reset and hasattr(module, "reset_parameters"):
                module.reset_parameters()
            initialise(module)
        trunc_normal_(self.cls_token, std=0.02)
        self._init_positions()

    def _init_positions(self) -> None:
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
            f'the student classifies by its class token: global_pool must be "token" or "", not {global_pool!r}'
        )


def initialise(module: nn.Module) -> None:
    """Draw the weights of a linear layer as the papers do."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _resampled(positions: torch.Tensor, old: tuple[int, ...], new: tuple[int, ...]) -> torch.Tensor:
    # Without antialias, the default of PyTorch's interpolate: the published larger models were made this way.
    resampled: torch.Tensor = resample_abs_pos_embed(positions, list(new), list(old), antialias=False)
    return resampled


def _say_grid(model: TokenViT, state: dict[str, torch.Tensor], prefix: str, metadata: dict[str, Any]) -> None:
    """Note the grid of the positions beside the weights: their number alone does not tell 4x9 from 6x6."""
    metadata["grid"] = list(model.patch_embed.grid_size)


def _take_names_of_token_head(model: TokenViT, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
    """Give weights of timm's same network by `with_token_head` our names: a hook before loading."""
    if f"{prefix}network.cls_token" in state:
        for name in [name for name in state if name.startswith(f"{prefix}network.")]:
            state[prefix + name.removeprefix(f"{prefix}network.")] = state.pop(name)


def _fit_positions(
    model: TokenViT, state: dict[str, torch.Tensor], prefix: str, metadata: dict[str, Any], *_: object
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
            f"have: {grid[0]}x{grid[1]} was assumed, the grid of this model",
            stacklevel=2,
        )
        return
    if before != grid and math.prod(before) == positions.shape[1] - 1:
        state[f"{prefix}pos_embed"] = _resampled(positions, before, grid)


def zero_missing_head(model: TokenViT, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
    """Give weights without a head for tokens one that answers 0: a hook before loading."""
    own = {f"{prefix}aux_head.{name}": value for name, value in model.aux_head.state_dict().items()}
    if f"{prefix}cls_token" in state and not own.keys() & state.keys():
        state.update({name: torch.zeros_like(value) for name, value in own.items()})
