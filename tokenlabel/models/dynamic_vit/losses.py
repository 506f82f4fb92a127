"""What is a student taught that drops tokens? To keep a fraction of them, to answer as before, and its token labels.

    pruning_loss         all of these and the picture's label, weighted: what the trainer uses

    ratio_loss           the mean over sites of (fraction kept − ratio)²
    distillation_loss    KL to the un-pruned teacher's class logits, and to its token logits, where kept
    kept_token_loss      ours: token labels from the store in place of the teacher's tokens, where kept

The paper's (arXiv 2106.02034, equation 16) is the picture's label, 2 times the first, 0.5 times each of the second, and
no third: a token_weight of 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import kl_div

from tokenlabel.losses.class_label import SoftLabel
from tokenlabel.losses.soft_cross_entropy import soft_cross_entropy
from tokenlabel.losses.token_label_loss import token_label_loss
from tokenlabel.models.dynamic_vit.pruned import Pruned
from tokenlabel.targets.token_targets import TokenTargets


def pruning_loss(
    student: Pruned,
    ratios: Sequence[float],
    targets: TokenTargets,
    *,
    label: torch.Tensor | SoftLabel | None = None,
    teacher: tuple[torch.Tensor, torch.Tensor] | None = None,
    token_weight: float = 0.5,
    keep_weight: float = 2.0,
    teacher_weight: float = 0.5,
    teacher_token_weight: float = 0.5,
) -> torch.Tensor:
    """What a student that drops tokens is taught by a batch, a scalar in nats.

    Args:
        student: its answer.
        ratios: the fraction of all tokens to keep, for each site.
        targets: of the same pictures and tokens.
        label: of the pictures, in place of the annotator's; see `token_label_loss`.
        teacher: `logits` of the un-pruned student; None for no distillation.
        token_weight: of the store's token labels; 0 for the paper's loss.
        keep_weight: of the fraction that is kept.
        teacher_weight, teacher_token_weight: of the teacher's answers for pictures and for tokens.

    Raises:
        LabelError: as `token_label_loss`.
    """
    loss = token_label_loss(student.picture, student.tokens, targets, label=label, token_weight=0.0)
    loss = loss + token_weight * kept_token_loss(student, targets) + keep_weight * ratio_loss(student.keep, ratios)
    if teacher is not None:
        of_pictures, of_tokens = distillation_loss(student, teacher)
        loss = loss + teacher_weight * of_pictures + teacher_token_weight * of_tokens
    return loss


def ratio_loss(keep: Sequence[torch.Tensor], ratios: Sequence[float]) -> torch.Tensor:
    """The mean over sites and pictures of the squared distance of the fraction that is kept from the site's ratio.

    Args:
        keep: for each site [b, t], 1 or 0.
        ratios: for each site, of all tokens.
    """
    errors = [(left.mean(1) - ratio).square().mean() for left, ratio in zip(keep, ratios, strict=True)]
    return torch.stack(errors).mean()


def distillation_loss(student: Pruned, teacher: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """How far the answers are from the un-pruned teacher's, nats: for pictures, and for tokens that are kept.

    Args:
        student: its answer.
        teacher: `logits` of the un-pruned student, on the same pictures, without gradient.

    Returns:
        KL(teacher || student), the mean over pictures, and the mean over kept tokens; 0 if none is kept.
    """
    of_pictures = _divergence(student.picture, teacher[0]).mean()
    return of_pictures, _mean_where(student.keep[-1].detach(), _divergence(student.tokens, teacher[1]))


def kept_token_loss(student: Pruned, targets: TokenTargets) -> torch.Tensor:
    """Cross-entropy with the token labels, the mean over tokens that are kept and lie inside the label map; nats.

    Not the paper's: the store's labels in place of an online teacher's tokens. The choice of tokens gets no gradient
    from it, or the model would learn to drop the hard ones.
    """
    values = soft_cross_entropy(student.tokens, targets.classes[:, 1:], targets.probabilities[:, 1:])
    return _mean_where(student.keep[-1].detach() * ~targets.outside[:, 1:], values)


def _divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    of_student, of_teacher = (logits.float().log_softmax(-1) for logits in (student, teacher))
    return kl_div(of_student, of_teacher, reduction="none", log_target=True).sum(-1)


def _mean_where(weight: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)
