"""In which sizes were visual transformers published? timm knows them by name: `timm.create_model("vt_resnet18")`.

`import tokenlabel.models` makes them known. Numbers of weights are our own: the printed equations do not give those of
the paper's tables, which contradict each other (docs/students.md). No weights were published.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, Bottleneck

from tokenlabel.models.registration import build, default_cfg
from tokenlabel.models.visual_transformer.fpn import VTFPN
from tokenlabel.models.visual_transformer.network import VTResNet

# timm's block, blocks of each stage, and visual transformers in place of the last.
_SIZES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...], int]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2), 2),
    "resnet34": (BasicBlock, (3, 4, 6, 3), 3),
    "resnet50": (Bottleneck, (3, 4, 6, 3), 3),
    "resnet101": (Bottleneck, (3, 4, 23, 3), 3),
}
_FPN = ("resnet18", "resnet50", "resnet101")
_CFG = default_cfg(
    first_conv="conv1", classifier=("fc", "aux_head"), fixed_input_size=False, paper_ids="arXiv:2006.03677"
)

default_cfgs = generate_default_cfgs(
    dict.fromkeys([*(f"vt_{size}" for size in _SIZES), *(f"vt_fpn_{size}" for size in _FPN)], _CFG)
)


def _create(size: str, pretrained: bool, given: dict[str, Any]) -> VTResNet:
    block, layers, modules = _SIZES[size]
    of_size = {"block": block, "layers": layers[:3], "modules": modules}
    return build(VTResNet, f"vt_{size}", pretrained, of_size, given)


def _create_fpn(size: str, pretrained: bool, given: dict[str, Any]) -> VTFPN:
    if given.get("features_only"):  # timm takes maps of falling resolution alone
        raise ValueError(
            f"vt_fpn_{size} has no features_only: its last map has more places than those of its stages; take the maps "
            "that its forward_intermediates gives"
        )
    block, layers, _ = _SIZES[size]
    return build(VTFPN, f"vt_fpn_{size}", pretrained, {"block": block, "layers": layers}, given)


@register_model
def vt_resnet18(pretrained: bool = False, **kwargs: Any) -> VTResNet:
    """VT-ResNet-18: two visual transformers on 256 channels."""
    return _create("resnet18", pretrained, kwargs)


@register_model
def vt_resnet34(pretrained: bool = False, **kwargs: Any) -> VTResNet:
    """VT-ResNet-34: three visual transformers on 256 channels."""
    return _create("resnet34", pretrained, kwargs)


@register_model
def vt_resnet50(pretrained: bool = False, **kwargs: Any) -> VTResNet:
    """VT-ResNet-50: three visual transformers on 1024 channels."""
    return _create("resnet50", pretrained, kwargs)


@register_model
def vt_resnet101(pretrained: bool = False, **kwargs: Any) -> VTResNet:
    """VT-ResNet-101: three visual transformers on 1024 channels."""
    return _create("resnet101", pretrained, kwargs)


@register_model
def vt_fpn_resnet18(pretrained: bool = False, **kwargs: Any) -> VTFPN:
    """VT-FPN over ResNet-18, which the paper does not have: for small computers."""
    return _create_fpn("resnet18", pretrained, kwargs)


@register_model
def vt_fpn_resnet50(pretrained: bool = False, **kwargs: Any) -> VTFPN:
    """VT-FPN over ResNet-50."""
    return _create_fpn("resnet50", pretrained, kwargs)


@register_model
def vt_fpn_resnet101(pretrained: bool = False, **kwargs: Any) -> VTFPN:
    """VT-FPN over ResNet-101."""
    return _create_fpn("resnet101", pretrained, kwargs)
