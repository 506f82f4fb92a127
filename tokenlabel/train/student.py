"""Which model do the settings of a training make?"""

from __future__ import annotations

import timm
import torch

from tokenlabel.errors import LabelError
from tokenlabel.models import LVViT
from tokenlabel.train.checkpoint import load_weights
from tokenlabel.train.settings import TrainSettings


def student(settings: TrainSettings, classes: int) -> LVViT:
    """The model of the settings, with its first weights.

    Raises:
        LabelError: it is not an LV-ViT, or the weights are of another model.
    """
    if not timm.is_model(settings.model):
        raise LabelError(
            f"timm has no model {settings.model!r}; give one of {', '.join(timm.list_models('lvvit*'))} as --model"
        )
    torch.manual_seed(settings.seed)
    model = timm.create_model(
        settings.model, num_classes=classes, img_size=settings.img_size, drop_path_rate=settings.drop_path
    )
    if not isinstance(model, LVViT):
        raise LabelError(
            f"{settings.model} gives no logits for its tokens as an LV-ViT does; docs/trainers.md shows how to train "
            "any other network, with timm's own loop"
        )
    model.set_grad_checkpointing(settings.grad_checkpointing)
    if settings.initial:
        load_weights(model, settings.initial)
    return model
