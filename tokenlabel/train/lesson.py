"""What is a student taught by a batch? The loss of token labels, or its own loss if it has one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tokenlabel.errors import LabelError
from tokenlabel.losses.class_label import SoftLabel
from tokenlabel.losses.token_label_loss import token_label_loss
from tokenlabel.mixing.mix import Mix
from tokenlabel.models.student import OwnLoss
from tokenlabel.targets.token_targets import TokenTargets
from tokenlabel.train.checkpoint import load_weights
from tokenlabel.train.settings import TrainSettings


class Lesson(nn.Module):
    """A student and its loss in one module, as DistributedDataParallel needs it: a batch -> its loss, a scalar.

    Args:
        settings: weights of the parts of the loss, the teacher, and the number type.
        model: the student, on its device.

    Raises:
        LabelError: a teacher for a student that learns from none; a teacher's weights that are of another model, or
            that have no head for tokens where its answers for tokens are asked for.
    """

    def __init__(self, settings: TrainSettings, model: Any) -> None:
        super().__init__()
        self.settings, self.model = settings, model
        self.teacher: nn.Module | None = None
        if not settings.teacher:
            return
        if not isinstance(model, OwnLoss):
            raise LabelError(
                f"{settings.model} learns from no teacher; leave out --teacher, or train a student that drops tokens, "
                "such as dynamicvit_lvvit_s_07"
            )
        self.teacher = model.teacher()
        load_weights(self.teacher, settings.teacher)
        of_tokens = self.teacher.get_submodule("aux_head").parameters()
        if settings.teacher_token_weight and not any(bool(weight.any()) for weight in of_tokens):
            raise LabelError(
                f"the weights in {settings.teacher} have no head for tokens, so that the teacher has no answers for "
                "tokens to imitate; give --teacher-token-weight 0, or a teacher that learned from token labels"
            )

    def train(self, mode: bool = True) -> Lesson:
        """Train the student; its teacher stays in evaluation mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def forward(
        self, pixels: torch.Tensor, mix: Mix, targets: TokenTargets, label: torch.Tensor | SoftLabel | None
    ) -> torch.Tensor:
        """The loss of a batch.

        Args:
            pixels: [b, 3, H, W].
            mix: what is swapped between pictures.
            targets: of pictures and tokens, mixed.
            label: of pictures, mixed, in place of the annotator's; or None.
        """
        settings = self.settings
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=settings.amp == "bfloat16"):
            if isinstance(self.model, OwnLoss):
                return self.model.own_loss(
                    pixels,
                    mix,
                    targets,
                    label=label,
                    teacher=self.teacher,
                    token_weight=settings.token_weight,
                    keep_weight=settings.keep_weight,
                    teacher_weight=settings.teacher_weight,
                    teacher_token_weight=settings.teacher_token_weight,
                )
            picture, tokens = self.model(pixels, mix)
        return token_label_loss(picture, tokens, targets, label=label, token_weight=settings.token_weight)
