"""How wrong is a student about a picture and about each of its tokens? The loss of Token Labeling."""

from __future__ import annotations

import torch

from tokenlabel.errors import LabelError
from tokenlabel.losses.class_label import SoftLabel, class_label_loss
from tokenlabel.losses.soft_cross_entropy import soft_cross_entropy
from tokenlabel.targets.readable import can_be_read
from tokenlabel.targets.token_targets import TokenTargets


def token_label_loss(
    picture_logits: torch.Tensor,
    token_logits: torch.Tensor,
    targets: TokenTargets,
    *,
    label: torch.Tensor | SoftLabel | None = None,
    token_weight: float = 0.5,
) -> torch.Tensor:
    """The loss of Token Labeling (arXiv 2104.10858, equation 4), a scalar in nats.

        L = H(y_cls, z_cls) + β · 1/N · Σ_i H(y_i, z_i)

    Tokens outside the label map are left out of the mean, whatever their logits. For an empty batch, L is 0.

    Args:
        picture_logits: [b, C].
        token_logits: [b, t, C], tokens row by row.
        targets: targets of the same b pictures and t tokens.
        label: int64 [b], the class of each picture, or classes mixed by `Mixer`: the paper's y_cls. Without it, the
            annotator's label of the part that is shown is used instead, and no class label at all.
        token_weight: the paper's β.

    Raises:
        LabelError: the model has no logits of tokens, another number of them, or fewer classes than the annotator;
            labels of another form, or class numbers that the model does not have.

    Example:
        >>> classes, probabilities = torch.full((1, 5, 1), 2), torch.ones(1, 5, 1)
        >>> targets = TokenTargets(classes, probabilities, torch.zeros(1, 5, dtype=torch.bool))
        >>> token_label_loss(torch.zeros(1, 4), torch.zeros(1, 4, 4), targets)  # 1.5 log 4
        tensor(2.0794)
    """
    if token_logits.ndim != 3:
        raise LabelError(
            f"the logits of tokens must be [b, t, C], not {list(token_logits.shape)}; a model without places in the "
            "picture has none, and can learn from class labels alone"
        )
    b, t = token_logits.shape[:2]
    if targets.classes.shape[:2] != (b, 1 + t):
        raise LabelError(
            f"the model gave logits for {b} pictures of {t} tokens, the targets are for {targets.classes.shape[0]} of "
            f"{targets.classes.shape[1] - 1}; ask for targets with the model's own token grid"
        )
    if picture_logits.shape != (b, token_logits.shape[2]):
        raise LabelError(
            f"the logits of the pictures must be [{b}, {token_logits.shape[2]}], as those of their tokens are, not "
            f"{list(picture_logits.shape)}"
        )
    if not b:
        return (
            picture_logits.float().sum() + token_logits.float().sum()
        )  # 0, and what comes before still gets gradients
    if can_be_read(targets.classes):  # elsewhere, gather fails at the first such class
        largest = int(torch.where(targets.probabilities > 0, targets.classes, 0).max())
        if largest >= token_logits.shape[-1]:
            raise LabelError(
                f"the targets name class {largest}, but the model has {token_logits.shape[-1]} classes; it needs as "
                "many as the annotator"
            )
    inside = ~targets.outside
    token = soft_cross_entropy(token_logits, targets.classes[:, 1:], targets.probabilities[:, 1:])
    token_mean = _mean_where(inside[:, 1:], token)
    if label is not None:
        picture_mean = class_label_loss(picture_logits, label)
    else:
        picture = soft_cross_entropy(picture_logits, targets.classes[:, 0], targets.probabilities[:, 0])
        picture_mean = _mean_where(inside[:, 0], picture)
    return picture_mean + token_weight * token_mean


def _mean_where(chosen: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.where(chosen, values, 0).sum() / chosen.sum().clamp(min=1)
