"""Which student makes its tokens of tokens, and has fixed positions? T2T-ViT, with a second head for its tokens.

timm's VisionTransformer with the T2T module as its stem (arXiv 2101.11986), and the head for tokens of Token Labeling,
with which its authors report 84.2 % for the largest size; the code of that model was not published.

Its published sizes are in published_sizes.py.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from tokenlabel.models.t2t_vit.performer import PerformerLayer
from tokenlabel.models.t2t_vit.tokens_to_token import TokensToToken
from tokenlabel.models.t2t_vit.transformer import TransformerLayer
from tokenlabel.models.token_vit import TokenViT, zero_missing_head

_LAYERS: dict[str, type[PerformerLayer] | type[TransformerLayer]] = {
    "performer": PerformerLayer,
    "transformer": TransformerLayer,
}


class T2TViT(TokenViT):
    """T2T-ViT as a `Student`; see `TokenViT` for what it answers.

    Published weights have no head for tokens: where a file has none, that head becomes zero, so that the answer is
    that of the class head, as published.

    Positions are fixed sinusoids over the sequence of tokens, class token first. For another input size they are
    computed anew where the model is made, and resampled as a map where weights of another size are loaded.

    Args:
        num_classes: C; 0 for features.
        img_size: height and width of its input, pixels; multiples of 16.
        in_chans: channels of its input.
        patch_size: 16.
        embed_dim, depth, num_heads, mlp_ratio: of the transformer.
        token_layer: "performer", or "transformer" for the sizes named _t.
        token_share: part of the best token's logits in the answer, see `combined_logits`; 0 for the class head alone.
        global_pool: "token"; or "" for features of all tokens.
        dynamic_img_size: whether pictures may have any size; positions are resampled for each batch.
        drop_rate, pos_drop_rate, proj_drop_rate, attn_drop_rate: of dropout.
        drop_path_rate: of stochastic depth in the last block; it grows linearly to that.

    Raises:
        ValueError: a size that is not a multiple of 16; another patch, pooling or token layer.
    """

    added_parts = ("aux_head",)

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        patch_size: int = 16,
        embed_dim: int = 384,
        depth: int = 14,
        num_heads: int = 6,
        mlp_ratio: float = 3.0,
        token_layer: str = "performer",
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
        if token_layer not in _LAYERS:
            raise ValueError(f"token_layer must be one of {', '.join(_LAYERS)}, not {token_layer!r}")
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
            embed_layer=partial(TokensToToken, layer=_LAYERS[token_layer]),
            norm_layer=nn.LayerNorm,  # with PyTorch's own epsilon, as published
            device=device,
            dtype=dtype,
        )
        self._modules["tokens_to_token"] = self._modules.pop("patch_embed")  # the name in published weights
        self.register_load_state_dict_pre_hook(zero_missing_head)

    @property
    def patch_embed(self) -> TokensToToken:
        """The T2T module, under timm's name of a stem."""
        stem = self._modules.get("tokens_to_token", self._modules.get("patch_embed"))
        if not isinstance(stem, TokensToToken):
            raise AttributeError("the model has no stem yet")
        return stem

    def _init_positions(self) -> None:
        self.pos_embed.requires_grad_(False)
        if not self.pos_embed.is_meta:
            self.pos_embed.copy_(sinusoids(self.pos_embed.shape[1], self.embed_dim))


def sinusoids(count: int, width: int) -> torch.Tensor:
    """Positions of a sequence: [1, count, width], sin(p / 10000^(j / width)) at even j, and its cosine after it."""
    even = torch.arange(0, width, 2, dtype=torch.float64)
    angles = torch.arange(count, dtype=torch.float64)[:, None] / 10000 ** (even / width)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[None, :, :width].float()
