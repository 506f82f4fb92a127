"""How do training pictures meet their labels? `LabeledImages`, what it gives, and in which order it is drawn."""

from __future__ import annotations

from tokenlabel.dataset.epoch_sampler import EpochSampler
from tokenlabel.dataset.example import Example, collate
from tokenlabel.dataset.labeled_images import LabeledImages, folder_keys

__all__ = ["EpochSampler", "Example", "LabeledImages", "collate", "folder_keys"]
