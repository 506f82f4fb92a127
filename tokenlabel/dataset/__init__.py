"""How do training pictures meet their labels? `LabeledImages`, what it gives, and in which order it is drawn."""

from __future__ import annotations

from tokenlabel.dataset.epoch_sampler import EpochSampler
from tokenlabel.dataset.example import Example, KeyedExample, Taught, collate, collate_pairs
from tokenlabel.dataset.labeled_images import LabeledImages, folder_keys
from tokenlabel.dataset.views import Views

__all__ = [
    "EpochSampler",
    "Example",
    "KeyedExample",
    "LabeledImages",
    "Taught",
    "Views",
    "collate",
    "collate_pairs",
    "folder_keys",
]
