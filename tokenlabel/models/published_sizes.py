"""In which sizes was LV-ViT published? timm knows them by name: `timm.create_model("lvvit_s")`.

`import tokenlabel.models` makes `lvvit_t`, `lvvit_s`, `lvvit_m` and `lvvit_l` known to `timm.create_model`.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model

from tokenlabel.models.lvvit import LVViT
from tokenlabel.models.registration import build, default_cfg

_RELEASE = "https://github.com/zihangJiang/TokenLabeling/releases/download/1.0/"


def _cfg(file: str = "", size: int = 224, crop_pct: float = 0.9) -> dict[str, Any]:
    return default_cfg(
        url=file and _RELEASE + file,
        input_size=(3, size, size),
        crop_pct=crop_pct,
        first_conv="patch_embed.conv1",
        license="apache-2.0",
        paper_ids="arXiv:2104.10858",
        origin_url="https://github.com/zihangJiang/TokenLabeling",
    )


# The authors' files, under the names of their release.
default_cfgs = generate_default_cfgs(
    {
        "lvvit_t": _cfg(),
        "lvvit_s.in1k": _cfg("lvvit_s-26M-224-83.3.pth.tar"),
        "lvvit_s.in1k_384": _cfg("lvvit_s-26M-384-84.4.pth.tar", 384),
        "lvvit_m.in1k": _cfg("lvvit_m-56M-224-84.0.pth.tar", crop_pct=1.0),
        "lvvit_m.in1k_384": _cfg("lvvit_m-56M-384-85.4.pth.tar", 384, 1.0),
        "lvvit_l.in1k_448": _cfg("lvvit_l-150M-448-86.2.pth.tar", 448, 1.0),
        "lvvit_l.*": _cfg(crop_pct=1.0),  # the default if none is named; it has no weights
    }
)


@register_model
def lvvit_t(pretrained: bool = False, **kwargs: Any) -> LVViT:
    """LV-ViT-T: 8.5 million weights at 224 pixels."""
    size = {"embed_dim": 240, "depth": 12, "num_heads": 4, "residual_divisor": 1.0}
    return build(LVViT, "lvvit_t", pretrained, size, kwargs)


@register_model
def lvvit_s(pretrained: bool = False, **kwargs: Any) -> LVViT:
    """LV-ViT-S: 26.2 million weights at 224 pixels."""
    size = {"embed_dim": 384, "depth": 16, "num_heads": 6, "residual_divisor": 2.0}
    return build(LVViT, "lvvit_s", pretrained, size, kwargs)


@register_model
def lvvit_m(pretrained: bool = False, **kwargs: Any) -> LVViT:
    """LV-ViT-M: 55.8 million weights at 224 pixels."""
    size = {"embed_dim": 512, "depth": 20, "num_heads": 8, "residual_divisor": 2.0}
    return build(LVViT, "lvvit_m", pretrained, size, kwargs)


@register_model
def lvvit_l(pretrained: bool = False, **kwargs: Any) -> LVViT:
    """LV-ViT-L: 150.0 million weights at 224 pixels."""
    size = {"embed_dim": 768, "depth": 24, "num_heads": 12, "residual_divisor": 3.0, "stem_dim": 128}
    return build(LVViT, "lvvit_l", pretrained, size, kwargs)
