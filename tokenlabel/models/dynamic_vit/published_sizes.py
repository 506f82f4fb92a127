"""In which sizes was DynamicViT published? timm knows them by name: `timm.create_model("dynamicvit_lvvit_s_07")`.

`import tokenlabel.models` makes them known. The number at the end is the keep ratio. No address of published weights
was at hand where this was written.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model

from tokenlabel.models.dynamic_vit.network import DynamicViT
from tokenlabel.models.registration import build, default_cfg

_DEIT: dict[str, Any] = {
    "sites": (3, 6, 9),
    "depth": 12,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "norm_eps": 1e-6,
    "stem_strides": (),
    "residual_divisor": 1.0,
}
BASES: dict[str, dict[str, Any]] = {
    "lvvit_s": {"sites": (4, 8, 12), "embed_dim": 384, "depth": 16, "num_heads": 6},
    "lvvit_m": {"sites": (5, 10, 15), "embed_dim": 512, "depth": 20, "num_heads": 8},
    "deit_256": {**_DEIT, "embed_dim": 256, "num_heads": 4},
    "deit_s": {**_DEIT, "embed_dim": 384, "num_heads": 6},
    "deit_b": {**_DEIT, "embed_dim": 768, "num_heads": 12},
}


def _cfg(first_conv: str) -> dict[str, Any]:
    return default_cfg(
        first_conv=first_conv,
        license="mit",
        paper_ids="arXiv:2106.02034",
        origin_url="https://github.com/raoyongming/DynamicViT",
    )


_PUBLISHED = ("lvvit_s_05", "lvvit_s_07", "lvvit_s_08", "lvvit_s_09", "lvvit_m_07")
_OF_DEIT = ("deit_256_07", "deit_s_07", "deit_b_07")

default_cfgs = generate_default_cfgs(
    {
        **{f"dynamicvit_{name}": _cfg("patch_embed.conv1") for name in _PUBLISHED},
        **{f"dynamicvit_{name}": _cfg("patch_embed.proj") for name in _OF_DEIT},
    }
)


def _create(name: str, pretrained: bool, given: dict[str, Any]) -> DynamicViT:
    base, _, tenths = name.removeprefix("dynamicvit_").rpartition("_")
    return build(DynamicViT, name, pretrained, {**BASES[base], "keep_ratio": int(tenths) / 10}, given)


@register_model
def dynamicvit_lvvit_s_05(pretrained: bool = False, **kwargs: Any) -> DynamicViT:
    """LV-ViT-S, which keeps 0.5 of its tokens at each of three places."""
    return _create("dynamicvit_lvvit_s_05", pretrained, kwargs)


@register_model
def dynamicvit_lvvit_s_07(pretrained: bool = False, **kwargs: Any) -> DynamicViT:
    """LV-ViT-S, which keeps 0.7 of its tokens at each of three places."""
    return _create("dynamicvit_lvvit_s_07", pretrained, kwargs)


@register_model
def dynamicvit_lvvit_s_08(pretrained: bool = False, **kwargs: Any) -> DynamicViT:
    """LV-ViT-S, which keeps 0.8 of its tokens at each of three places."""
    return _create("dynamicvit_lvvit_s_08", pretrained, kwargs)


@register_model
def dynamicvit_lvvit_s_09(pretrained: bool = False, **kwargs: Any) -> DynamicViT:
    """LV-ViT-S, which keeps 0.9 of its tokens at each of three places."""
    return _create("dynamicvit_lvvit_s_09", pretrained, kwargs)


@register_model
def dynamicvit_lvvit_m_07(pretrained: bool = False, **kwargs: Any) -> DynamicViT:
    """LV-ViT-M, which keeps 0.7 of its tokens at each of three places."""
    return _create("dynamicvit_lvvit_m_07", pretrained, kwargs)


@register_model
def dynamicvit_deit_256_07(pretrained: bool = False, **kwargs: Any) -> DynamicViT:
    """DeiT of width 256, which keeps 0.7 of its tokens at each of three places."""
    return _create("dynamicvit_deit_256_07", pretrained, kwargs)


@register_model
def dynamicvit_deit_s_07(pretrained: bool = False, **kwargs: Any) -> DynamicViT:
    """DeiT-S, which keeps 0.7 of its tokens at each of three places."""
    return _create("dynamicvit_deit_s_07", pretrained, kwargs)


@register_model
def dynamicvit_deit_b_07(pretrained: bool = False, **kwargs: Any) -> DynamicViT:
    """DeiT-B, which keeps 0.7 of its tokens at each of three places."""
    return _create("dynamicvit_deit_b_07", pretrained, kwargs)
