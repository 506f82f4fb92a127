"""What do all our students tell timm when they are registered? Their defaults, and how a published size is built."""

from __future__ import annotations

from typing import Any, TypeVar

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def default_cfg(**own: Any) -> dict[str, Any]:
    """timm's default configuration of a student with two heads at 224 pixels; `own` adds to it and overrides it."""
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": None,
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "fixed_input_size": True,
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "classifier": ("head", "aux_head"),
        **own,
    }


def build(kind: type[Model], name: str, pretrained: bool, size: dict[str, Any], given: dict[str, Any]) -> Model:
    """The student of a registered name.

    Args:
        kind: its class.
        name: its name, with or without a tag.
        pretrained: whether to load the published weights.
        size: the arguments that make this size.
        given: what the user gave to `timm.create_model`, which overrides the size.
    """
    given = dict(given)
    features = {"out_indices": given.pop("out_indices", 3), "feature_cls": "getter"}
    model: Model = build_model_with_cfg(kind, name, pretrained, feature_cfg=features, **{**size, **given})
    return model
