"""How wrong is a model about a picture and about each of its tokens? Cross-entropy with sparse soft targets."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 the field's own name

from tokenlabel.errors import LabelError
from tokenlabel.targets import TokenTargets


def soft_cross_entropy(logits: torch.Tensor, classes: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with a target of which only some classes are named.

        H(y, z) = − Σ_c y_c log softmax(z)_c

    The probability that the named classes leave is spread evenly over all the others.

    Args:
        logits: [..., C].
        classes: int64 [..., m], the named classes.
        probabilities: float [..., m]; 0 marks an entry that names nothing.

    Returns:
        [...], nats.
    """
    log_likelihood = F.log_softmax(logits.float(), dim=-1)
    named = (probabilities > 0).float()
    at_named = log_likelihood.gather(-1, classes)
    remainder = (1 - probabilities.sum(-1)).clamp(min=0)
    others = (logits.shape[-1] - named.sum(-1)).clamp(min=1)
    spread = (log_likelihood.sum(-1) - (named * at_named).sum(-1)) / others
    return -(probabilities * at_named).sum(-1) - remainder * spread


def token_label_loss(
    picture_logits: torch.Tensor,
    token_logits: torch.Tensor,
    targets: TokenTargets,
    *,
    label: torch.Tensor | None = None,
    token_weight: float = 0.5,
) -> torch.Tensor:
    """The loss of Token Labeling (arXiv 2104.10858, equation 4), a scalar in nats.

        L = H(y_cls, z_cls) + β · 1/N · Σ_i H(y_i, z_i)

    Tokens that look outside the label map are left out of the mean.

    Args:
        picture_logits: [b, C].
        token_logits: [b, t, C], tokens row by row.
        targets: of the same b pictures and t tokens.
        label: int64 [b], the class of each picture: the paper's y_cls. Without it, the annotator's own label of the
            part of the picture that is shown takes its place, and no class label is used at all.
        token_weight: the paper's β.

    Raises:
        LabelError: the model has another number of tokens, or fewer classes than the annotator.
    """
    b, t = token_logits.shape[:2]
    if targets.classes.shape[:2] != (b, 1 + t):
        raise LabelError(
            f"the model gave logits for {b} pictures of {t} tokens, the targets are for {targets.classes.shape[0]} of "
            f"{targets.classes.shape[1] - 1}; ask for targets with the model's own token grid"
        )
    # On a GPU the question would wait for all work before it; there, gather stops at the first such class.
    if not token_logits.is_cuda and int(targets.classes.max()) >= token_logits.shape[-1]:
        raise LabelError(
            f"the targets name class {int(targets.classes.max())}, the model has {token_logits.shape[-1]} classes; "
            "it needs as many as the annotator"
        )
    inside = (~targets.outside).float()
    token = soft_cross_entropy(token_logits, targets.classes[:, 1:], targets.probabilities[:, 1:])
    token_mean = (token * inside[:, 1:]).sum() / inside[:, 1:].sum().clamp(min=1)
    if label is not None:
        picture_mean = F.cross_entropy(picture_logits.float(), label)
    else:
        picture = soft_cross_entropy(picture_logits, targets.classes[:, 0], targets.probabilities[:, 0])
        picture_mean = (picture * inside[:, 0]).sum() / inside[:, 0].sum().clamp(min=1)
    return picture_mean + token_weight * token_mean
