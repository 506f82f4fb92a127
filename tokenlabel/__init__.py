"""How do label maps become training targets? Crop-aware alignment, sparse targets, losses, students."""

from tokenlabel.align import TokenScores, align
from tokenlabel.dataset import Example, LabeledImages, collate, folder_keys, normalised, whole_view
from tokenlabel.errors import LabelError
from tokenlabel.loss import soft_cross_entropy, token_label_loss
from tokenlabel.targets import TokenTargets, token_targets
from tokenlabel.view import View, random_view

__all__ = [
    "Example",
    "LabelError",
    "LabeledImages",
    "TokenScores",
    "TokenTargets",
    "View",
    "align",
    "collate",
    "folder_keys",
    "normalised",
    "random_view",
    "soft_cross_entropy",
    "token_label_loss",
    "token_targets",
    "whole_view",
]
