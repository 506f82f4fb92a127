"""Which weights of a student learn how fast? Those of its base may learn slower, and later, than what it adds."""

from __future__ import annotations

from typing import Any

import torch
from timm import optim
from torch import nn

from tokenlabel.errors import LabelError
from tokenlabel.train.settings import TrainSettings

_BASE = "of_base"


def make_optimizer(settings: TrainSettings, model: Any, rate: float) -> torch.optim.Optimizer:
    """AdamW over all weights; those of the base in groups of their own if they have a rate of their own.

    Args:
        settings: of the training.
        model: the student. Its `added_parts`, if it has that name, are the modules that weights of its base lack.
        rate: the peak learning rate.

    Raises:
        LabelError: a rate for the weights of its base, of a student that adds nothing to one.
    """
    options: dict[str, Any] = {"opt": "adamw", "lr": rate, "weight_decay": settings.weight_decay}
    if settings.base_rate == 1 and not settings.frozen_epochs:
        return optim.create_optimizer_v2(model, **options)
    added = _weights_of(model, getattr(model, "added_parts", ()))
    if not added:
        raise LabelError(
            f"{settings.model} adds nothing to a base, so that --base-rate and --frozen-epochs would hold for all of "
            "it; leave them out, and give --lr"
        )
    spared = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    groups = optim.param_groups_weight_decay(model, settings.weight_decay, no_weight_decay_list=spared)
    split = []
    for of_base in (False, True):  # what is added comes first: the log shows the rate of the first group
        for group in groups:
            weights = [weight for weight in group["params"] if (id(weight) not in added) == of_base]
            split.append({**group, "params": weights, _BASE: of_base})
    return optim.create_optimizer_v2([group for group in split if group["params"]], **options)


def set_base_rate(optimizer: torch.optim.Optimizer, settings: TrainSettings, epoch: int) -> None:
    """Set which part of the learning rate the base gets in this epoch, before the schedule's step."""
    for group in optimizer.param_groups:
        if group.get(_BASE):
            group["lr_scale"] = 0.0 if epoch < settings.frozen_epochs else settings.base_rate


def _weights_of(model: nn.Module, parts: tuple[str, ...]) -> set[int]:
    return {id(weight) for part in parts for weight in model.get_submodule(part).parameters()}
