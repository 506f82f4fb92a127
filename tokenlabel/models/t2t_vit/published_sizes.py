"""In which sizes was T2T-ViT published? timm knows them by name: `timm.create_model("t2t_vit_14")`.

`import tokenlabel.models` makes them known. No address of published weights was at hand where this was written.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model

from tokenlabel.models.registration import build, default_cfg
from tokenlabel.models.t2t_vit.network import T2TViT

# Width, depth, heads and the MLP's ratio.
SIZES = {
    "t2t_vit_7": (256, 7, 4, 2.0),
    "t2t_vit_10": (256, 10, 4, 2.0),
    "t2t_vit_12": (256, 12, 4, 2.0),
    "t2t_vit_14": (384, 14, 6, 3.0),
    "t2t_vit_19": (448, 19, 7, 3.0),
    "t2t_vit_24": (512, 24, 8, 3.0),
    "t2t_vit_14_resnext": (384, 14, 32, 3.0),
    "t2t_vit_14_wide": (768, 4, 12, 3.0),
}
_CFG = default_cfg(first_conv=(), paper_ids="arXiv:2101.11986", origin_url="https://github.com/yitu-opensource/T2T-ViT")
_TRANSFORMER = ("t2t_vit_t_14", "t2t_vit_t_19", "t2t_vit_t_24")

default_cfgs = generate_default_cfgs(dict.fromkeys((*SIZES, *_TRANSFORMER), _CFG))


def _create(name: str, pretrained: bool, given: dict[str, Any]) -> T2TViT:
    width, depth, heads, ratio = SIZES[name.replace("_t_", "_")]
    of_size: dict[str, Any] = {"embed_dim": width, "depth": depth, "num_heads": heads, "mlp_ratio": ratio}
    of_size["token_layer"] = "transformer" if name in _TRANSFORMER else "performer"
    return build(T2TViT, name, pretrained, of_size, given)


@register_model
def t2t_vit_7(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViT-7: 4.3 million weights, and the head for tokens."""
    return _create("t2t_vit_7", pretrained, kwargs)


@register_model
def t2t_vit_10(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViT-10: 5.9 million weights, and the head for tokens."""
    return _create("t2t_vit_10", pretrained, kwargs)


@register_model
def t2t_vit_12(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViT-12: 6.9 million weights, and the head for tokens."""
    return _create("t2t_vit_12", pretrained, kwargs)


@register_model
def t2t_vit_14(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViT-14: 21.5 million weights, and the head for tokens."""
    return _create("t2t_vit_14", pretrained, kwargs)


@register_model
def t2t_vit_19(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViT-19: 39.2 million weights, and the head for tokens."""
    return _create("t2t_vit_19", pretrained, kwargs)


@register_model
def t2t_vit_24(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViT-24: 64.1 million weights, and the head for tokens."""
    return _create("t2t_vit_24", pretrained, kwargs)


@register_model
def t2t_vit_t_14(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViTt-14, with softmax in its token layers: 21.5 million weights, and the head for tokens."""
    return _create("t2t_vit_t_14", pretrained, kwargs)


@register_model
def t2t_vit_t_19(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViTt-19, with softmax in its token layers: 39.2 million weights, and the head for tokens."""
    return _create("t2t_vit_t_19", pretrained, kwargs)


@register_model
def t2t_vit_t_24(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViTt-24, with softmax in its token layers: 64.1 million weights, and the head for tokens."""
    return _create("t2t_vit_t_24", pretrained, kwargs)


@register_model
def t2t_vit_14_resnext(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViT-14 with 32 heads: 21.5 million weights, and the head for tokens."""
    return _create("t2t_vit_14_resnext", pretrained, kwargs)


@register_model
def t2t_vit_14_wide(pretrained: bool = False, **kwargs: Any) -> T2TViT:
    """T2T-ViT-14, twice as wide and of four blocks: 25.2 million weights, and the head for tokens."""
    return _create("t2t_vit_14_wide", pretrained, kwargs)
