"""How do label maps become training targets? Crop-aware alignment, sparse targets, mixing, losses, students.

What needs torch is imported when it is first used, so that `tokenlabel.from_boxes` works where there is none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tokenlabel.align import TokenScores, align
from tokenlabel.errors import LabelError
from tokenlabel.sparse import SparseTargets, from_boxes, sparse_targets
from tokenlabel.view import View, random_view
from tokenlabel.warp import Warp

if TYPE_CHECKING:
    from tokenlabel.augment import Augmentation, Crops, normalised, seeded, whole_view
    from tokenlabel.dataset import Example, LabeledImages, collate, folder_keys
    from tokenlabel.loss import soft_cross_entropy, token_label_loss
    from tokenlabel.mix import Mix
    from tokenlabel.mixing import Mixer
    from tokenlabel.policies import AutoAugment, LabeledCompose, RandAugment, TrivialAugmentWide
    from tokenlabel.targets import TokenTargets, token_targets
    from tokenlabel.transforms import ResolveLabels

_NEED_TORCH = {
    "augment": ("Augmentation", "Crops", "normalised", "seeded", "whole_view"),
    "dataset": ("Example", "LabeledImages", "collate", "folder_keys"),
    "loss": ("soft_cross_entropy", "token_label_loss"),
    "mix": ("Mix",),
    "mixing": ("Mixer",),
    "policies": ("AutoAugment", "LabeledCompose", "RandAugment", "TrivialAugmentWide"),
    "targets": ("TokenTargets", "token_targets"),
    "transforms": ("ResolveLabels",),
}
_ROOM_OF = {name: room for room, names in _NEED_TORCH.items() for name in names}

__all__ = [
    "Augmentation",
    "AutoAugment",
    "Crops",
    "Example",
    "LabelError",
    "LabeledCompose",
    "LabeledImages",
    "Mix",
    "Mixer",
    "RandAugment",
    "ResolveLabels",
    "SparseTargets",
    "TokenScores",
    "TokenTargets",
    "TrivialAugmentWide",
    "View",
    "Warp",
    "align",
    "collate",
    "folder_keys",
    "from_boxes",
    "normalised",
    "random_view",
    "seeded",
    "soft_cross_entropy",
    "sparse_targets",
    "token_label_loss",
    "token_targets",
    "whole_view",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'tokenlabel' has no attribute {name!r}")
    return getattr(import_module(f"tokenlabel.{_ROOM_OF[name]}"), name)
