"""Which model do the settings of a training make?"""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch

from tokenlabel.errors import LabelError
from tokenlabel.models import Student, with_token_head
from tokenlabel.train.checkpoint import load_weights
from tokenlabel.train.settings import TrainSettings


# What it gives is a Student and a torch module: Python has no type for both.
def student(settings: TrainSettings, classes: int, *, new_heads: bool = False) -> Any:
    """The model of the settings, with its first weights: one of ours, or any of timm's with a head for tokens added.

    Args:
        settings: the model, its size and its first weights.
        classes: how many classes it tells apart.
        new_heads: take first weights of another number of classes, too; the heads then begin anew, which is logged.

    Raises:
        LabelError: timm does not know it, it has no tokens, does not take the settings' size or stochastic depth, or
            the weights are of another model.
    """
    if not timm.is_model(settings.model):
        near = difflib.get_close_matches(settings.model, timm.list_models(), 4)
        raise LabelError(
            f"timm has no model {settings.model!r}; give one that it knows as --model"
            + (f", such as {', '.join(near)}" if near else "")
        )
    torch.manual_seed(settings.seed)
    try:
        model = _network(settings, classes)
        if isinstance(model, Student):
            model.token_share = settings.token_share
        else:
            model = with_token_head(model, img_size=settings.size, token_share=settings.token_share)
    except (ValueError, AssertionError) as error:
        raise LabelError(f"{settings.model} cannot be trained with --img-size {settings.img_size}: {error}") from error
    if settings.grad_checkpointing:
        model.set_grad_checkpointing()
    if settings.initial:
        load_weights(model, settings.initial, classes=classes if new_heads else None)
    return model


def _network(settings: TrainSettings, classes: int) -> Any:
    """timm's model, which need not know the size of its pictures when it is made."""
    options: dict[str, Any] = {"img_size": settings.size}
    if settings.drop_path:
        options["drop_path_rate"] = settings.drop_path
    while True:
        try:
            return timm.create_model(settings.model, num_classes=classes, **options)
        except TypeError as error:
            if "img_size" in str(error) and "img_size" in options:
                del options["img_size"]
            elif "drop_path_rate" in str(error):
                raise LabelError(f"{settings.model} has no stochastic depth; give --drop-path 0") from error
            else:
                raise
