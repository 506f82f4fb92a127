"""How do label maps become training targets? Crop-aware alignment, sparse targets, mixing, losses, students.

What needs torch is imported when it is first used, so that `tokenlabel.from_boxes` works without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import tokenlabel_entry  # noqa: F401, it checks whose packages Python finds, before one is imported
from storage import open_store
from tokenlabel.errors import LabelError
from tokenlabel.geometry.view import View, random_view
from tokenlabel.geometry.warp import Warp
from tokenlabel.targets.align import TokenScores, align
from tokenlabel.targets.reading import from_boxes, sparse_targets
from tokenlabel.targets.sparse import SparseTargets

__distribution__ = "tokenlabel"

if TYPE_CHECKING:
    from tokenlabel.dataset import (
        EpochSampler,
        Example,
        KeyedExample,
        LabeledImages,
        Taught,
        Views,
        collate,
        collate_pairs,
        folder_keys,
    )
    from tokenlabel.losses.class_label import smooth_label
    from tokenlabel.losses.soft_cross_entropy import soft_cross_entropy
    from tokenlabel.losses.token_label_loss import token_label_loss
    from tokenlabel.mixing.mix import Mix
    from tokenlabel.mixing.mixer import Mixer
    from tokenlabel.mixing.token_swap import TokenSwap
    from tokenlabel.models import LVViT, Student, TokenHeadStudent, with_token_head
    from tokenlabel.own_head import TokenLogits, token_logits
    from tokenlabel.pipelines.coordinates import coordinate_map, from_coordinates, from_matrix
    from tokenlabel.pipelines.crops import Augmentation, Crops, normalised, seeded, whole_view
    from tokenlabel.pipelines.label_tensor import LabelTensor, ResolveLabels
    from tokenlabel.pipelines.policies import AutoAugment, LabeledCompose, RandAugment, TrivialAugmentWide
    from tokenlabel.pipelines.traced import Traced
    from tokenlabel.targets.paper import Paper
    from tokenlabel.targets.rule import BLENDED, Rule
    from tokenlabel.targets.token_targets import TokenTargets, token_targets

_NEED_TORCH = {
    "dataset": (
        "EpochSampler",
        "Example",
        "KeyedExample",
        "LabeledImages",
        "Taught",
        "Views",
        "collate",
        "collate_pairs",
        "folder_keys",
    ),
    "losses.class_label": ("smooth_label",),
    "losses.soft_cross_entropy": ("soft_cross_entropy",),
    "losses.token_label_loss": ("token_label_loss",),
    "mixing.mix": ("Mix",),
    "mixing.mixer": ("Mixer",),
    "mixing.token_swap": ("TokenSwap",),
    "models": ("LVViT", "Student", "TokenHeadStudent", "with_token_head"),  # and timm
    "pipelines.coordinates": ("coordinate_map", "from_coordinates", "from_matrix"),
    "pipelines.crops": ("Augmentation", "Crops", "normalised", "seeded", "whole_view"),
    "pipelines.label_tensor": ("LabelTensor", "ResolveLabels"),
    "pipelines.policies": ("AutoAugment", "LabeledCompose", "RandAugment", "TrivialAugmentWide"),
    "pipelines.traced": ("Traced",),
    "targets.paper": ("Paper",),
    "targets.rule": ("BLENDED", "Rule"),
    "own_head": ("TokenLogits", "token_logits"),
    "targets.token_targets": ("TokenTargets", "token_targets"),
}
_ROOM_OF = {name: room for room, names in _NEED_TORCH.items() for name in names}

__all__ = [
    "BLENDED",
    "Augmentation",
    "AutoAugment",
    "Crops",
    "EpochSampler",
    "Example",
    "KeyedExample",
    "LVViT",
    "LabelError",
    "LabelTensor",
    "LabeledCompose",
    "LabeledImages",
    "Mix",
    "Mixer",
    "Paper",
    "RandAugment",
    "ResolveLabels",
    "Rule",
    "SparseTargets",
    "Student",
    "Taught",
    "TokenHeadStudent",
    "TokenLogits",
    "TokenScores",
    "TokenSwap",
    "TokenTargets",
    "Traced",
    "TrivialAugmentWide",
    "View",
    "Views",
    "Warp",
    "align",
    "collate",
    "collate_pairs",
    "coordinate_map",
    "folder_keys",
    "from_boxes",
    "from_coordinates",
    "from_matrix",
    "normalised",
    "open_store",
    "random_view",
    "seeded",
    "smooth_label",
    "soft_cross_entropy",
    "sparse_targets",
    "token_label_loss",
    "token_logits",
    "token_targets",
    "whole_view",
    "with_token_head",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'tokenlabel' has no attribute {name!r}")
    return getattr(import_module(f"tokenlabel.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
