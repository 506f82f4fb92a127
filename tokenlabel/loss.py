"""How wrong is a model about a picture and about each of its tokens? Cross-entropy with sparse soft targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 the field's own name

from tokenlabel.errors import LabelError
from tokenlabel.targets.token_targets import TokenTargets

SoftLabel = tuple[torch.Tensor, torch.Tensor]
"""Classes int64 [b, m] and their probabilities float [b, m], which mixing makes of class numbers."""

# Logits processed at once: on a CPU as many as stay in its cache; on a GPU 256 MB of float32, which is fast.
_AT_ONCE_CPU, _AT_ONCE_GPU = 1 << 20, 1 << 26


def soft_cross_entropy(logits: torch.Tensor, classes: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with a target that names only some classes.

        H(y, z) = − Σ_c y_c log softmax(z)_c

    The probability that the named classes leave is spread evenly over all other classes, as in `TokenTargets`. A class
    that is named more than once has the sum.

    The gradient is the only tensor [..., C] that it makes. Half-precision logits are summed in float32, without a
    copy.

    Args:
        logits: [..., C].
        classes: int32 or int64 [..., m], the named classes.
        probabilities: float [..., m]; 0 marks an entry that names nothing. It gets no gradient.

    Returns:
        [...], nats; float32, or float64 for float64 logits.

    Raises:
        LabelError: the probabilities require a gradient.

    Example:
        >>> logits = torch.zeros(1, 4)  # all four classes equally likely
        >>> soft_cross_entropy(logits, torch.tensor([[2]]), torch.tensor([[0.7]]))  # log 4
        tensor([1.3863])
    """
    if probabilities.requires_grad:
        raise LabelError("soft_cross_entropy gives no gradient to its targets; detach the probabilities")
    targets = TokenTargets(classes, probabilities, torch.zeros_like(probabilities[..., 0], dtype=torch.bool))
    distinct = targets.distinct
    share = targets.share(logits.shape[-1], distinct=distinct)
    value: torch.Tensor = _SparseCrossEntropy.apply(
        logits,
        torch.where(probabilities > 0, classes, 0),  # an entry that names nothing may hold any number
        probabilities - distinct * share[..., None],
        share,
    )
    return value


class _SparseCrossEntropy(torch.autograd.Function):
    """− Σ_j q_j log softmax(z)_{c_j} − u Σ_c log softmax(z)_c, with the gradient  (Σ y) softmax(z) − y.

    The target is y = u everywhere, and q_j more at the class c_j.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, classes: torch.Tensor, extra: torch.Tensor, share: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(logits, classes, extra, share)
        wide = torch.promote_types(logits.dtype, torch.float32)
        parts = []
        for z, c, q, u in _parts(share.ndim, logits, classes, extra, share):
            log_likelihood = torch.log_softmax(z, -1, dtype=wide)
            parts.append(-(q * log_likelihood.gather(-1, c.long())).sum(-1) - u * log_likelihood.sum(-1))
        return torch.cat(parts).view(share.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        logits, classes, extra, share = ctx.saved_tensors
        wide = torch.promote_types(logits.dtype, torch.float32)
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        for z, into, g, c, q, u in _parts(share.ndim, logits, gradient, above[..., None], classes, extra, share):
            part = into if into.dtype == wide else torch.empty_like(into, dtype=wide)
            torch.softmax(z, -1, dtype=wide, out=part)
            part.mul_(g * (q.sum(-1) + logits.shape[-1] * u)[:, None]).sub_(g * u[:, None])
            part.scatter_add_(-1, c.long(), (-g * q).to(wide))
            # Rows that are left out of the loss get no gradient, even where their logits are not finite.
            idle = g == 0
            if idle.is_cuda or torch.compiler.is_compiling() or idle.any():
                part.masked_fill_(idle, 0)
            into.copy_(part)
        return gradient, None, None, None


def _parts(lead: int, *tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Tensors that share their first `lead` axes, flattened to one axis, some rows at a time."""
    flat = [tensor.reshape(-1, *tensor.shape[lead:]) for tensor in tensors]
    at_once = _AT_ONCE_GPU if flat[0].is_cuda or torch.compiler.is_compiling() else _AT_ONCE_CPU
    rows = max(1, at_once // flat[0].shape[-1])
    return zip(*(tensor.split(rows) for tensor in flat), strict=True)


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
        targets: of the same b pictures and t tokens.
        label: int64 [b], the class of each picture, or classes mixed by `Mixer`: the paper's y_cls. Without it, the
            annotator's label of the part that is shown is used instead, and no class label at all.
        token_weight: the paper's β.

    Raises:
        LabelError: the model has another number of tokens, or fewer classes than the annotator; labels of another form,
            or class numbers that the model does not have.

    Example:
        >>> classes, probabilities = torch.full((1, 5, 1), 2), torch.ones(1, 5, 1)
        >>> targets = TokenTargets(classes, probabilities, torch.zeros(1, 5, dtype=torch.bool))
        >>> token_label_loss(torch.zeros(1, 4), torch.zeros(1, 4, 4), targets)  # 1.5 log 4
        tensor(2.0794)
    """
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
    # On a GPU this check would wait for all work before it; there, gather fails at the first such class.
    if not token_logits.is_cuda:
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
        picture_mean = _label_loss(picture_logits, label)
    else:
        picture = soft_cross_entropy(picture_logits, targets.classes[:, 0], targets.probabilities[:, 0])
        picture_mean = _mean_where(inside[:, 0], picture)
    return picture_mean + token_weight * token_mean


def _mean_where(chosen: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.where(chosen, values, 0).sum() / chosen.sum().clamp(min=1)


def _label_loss(logits: torch.Tensor, label: torch.Tensor | SoftLabel) -> torch.Tensor:
    if isinstance(label, tuple):
        classes, probabilities = label
        if classes.shape != probabilities.shape or classes.shape[:-1] != logits.shape[:-1]:
            raise LabelError(
                f"a soft label of {len(logits)} pictures is classes [{len(logits)}, m] and probabilities of the same "
                f"shape, not {list(classes.shape)} and {list(probabilities.shape)}"
            )
        _check_classes(classes[probabilities > 0] if not classes.is_cuda else classes, logits.shape[-1])
        return soft_cross_entropy(logits, classes, probabilities).mean()
    if label.shape != logits.shape[:1] or label.is_floating_point():
        raise LabelError(
            f"label must hold the class numbers of {len(logits)} pictures, int64 [{len(logits)}], not {label.dtype} "
            f"{list(label.shape)}. If mixup made a dense label of it, it did not mix the targets of the tokens; mix "
            "with tokenlabel.Mixer, and give its (classes, probabilities)"
        )
    _check_classes(label, logits.shape[-1])
    return F.cross_entropy(logits.float(), label.long())


def _check_classes(label: torch.Tensor, class_count: int) -> None:
    """Check class numbers; not on a GPU, where the check would wait for all work before it."""
    if not label.is_cuda and label.numel() and not 0 <= int(label.min()) <= int(label.max()) < class_count:
        raise LabelError(
            f"label holds class numbers {int(label.min())} to {int(label.max())}, but the model has {class_count} "
            "classes; leave out pictures without a class, or teach all by the annotator alone (label=None)"
        )
