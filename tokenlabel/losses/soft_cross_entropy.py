"""How wrong are logits about a target that names only some classes? Cross-entropy, without a dense target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd import forward_ad

from tokenlabel.errors import LabelError
from tokenlabel.targets.token_targets import TokenTargets

# Logits processed at once: on a CPU as many as stay in its cache; on a GPU 256 MB of float32, which is fast.
_AT_ONCE_CPU, _AT_ONCE_GPU = 1 << 20, 1 << 26


def soft_cross_entropy(logits: torch.Tensor, classes: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with a target that names only some classes.

        H(y, z) = − Σ_c y_c log softmax(z)_c

    The probability that the named classes leave is spread evenly over all other classes, as in `TokenTargets`. A class
    that is named more than once has the sum.

    The gradient is the only tensor [..., C] that it makes, unless it is differentiated twice, forwards, for many
    vectors at once, or by `torch.func`.
    Half-precision logits are summed in float32, without a copy. A class whose logit is minus infinity, as of a model
    whose classes are masked, costs nothing if its target is 0.

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
    share = targets.probability_of_unnamed(logits.shape[-1], distinct=distinct)
    parts = (
        torch.where(probabilities > 0, classes, 0),  # an entry that names nothing may hold any number
        probabilities - distinct * share[..., None],
        share,
    )
    # These take no function with a gradient of its own, such as ours.
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return _value(torch.promote_types(logits.dtype, torch.float32), logits, *parts)
    value: torch.Tensor = _SparseCrossEntropy.apply(logits, *parts)
    return value


def _value(wide: torch.dtype, z: torch.Tensor, c: torch.Tensor, q: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """− Σ_j q_j log softmax(z)_{c_j} − u Σ_c log softmax(z)_c, where 0 times minus infinity is 0."""
    log_likelihood = torch.log_softmax(z, -1, dtype=wide)
    named = log_likelihood.gather(-1, c.long())
    return -torch.where(q == 0, 0, q * named).sum(-1) - torch.where(u == 0, 0, u * log_likelihood.sum(-1))


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
            parts.append(_value(wide, z, c, q, u))
        return torch.cat(parts).view(share.shape)

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        logits, classes, extra, share = ctx.saved_tensors
        wide = torch.promote_types(logits.dtype, torch.float32)
        # This gradient is differentiated too, or taken for many vectors at once, as vectorized jacobians are.
        if torch.is_grad_enabled() or _is_batched(above):
            slope = above[..., None] * (extra.sum(-1) + logits.shape[-1] * share)[..., None]
            even = (above * share)[..., None]
            full = torch.softmax(logits, -1, dtype=wide) * slope - even
            full = full.scatter_add(-1, classes.long(), (-above[..., None] * extra).to(wide))
            return torch.where(above[..., None] == 0, 0, full).to(logits.dtype), None, None, None
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        for z, into, g, c, q, u in _parts(share.ndim, logits, gradient, above[..., None], classes, extra, share):
            part = into if into.dtype == wide else torch.empty_like(into, dtype=wide)
            torch.softmax(z, -1, dtype=wide, out=part)
            part.mul_(g * (q.sum(-1) + logits.shape[-1] * u)[:, None]).sub_(g * u[:, None])
            part.scatter_add_(-1, c.long(), (-g * q).to(wide))
            # Rows that are left out of the loss get no gradient, even where their logits are not finite.
            idle = g == 0
            if torch.compiler.is_compiling() or idle.is_cuda or idle.any():
                part.masked_fill_(idle, 0)
            into.copy_(part)
        return gradient, None, None, None


def _is_batched(above: torch.Tensor) -> bool:
    return not torch.compiler.is_compiling() and torch._C._functorch.is_legacy_batchedtensor(above)


def _parts(lead: int, *tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Tensors that share their first `lead` axes, flattened to one axis, some rows at a time."""
    flat = [tensor.reshape(-1, *tensor.shape[lead:]) for tensor in tensors]
    at_once = _AT_ONCE_GPU if torch.compiler.is_compiling() or flat[0].is_cuda else _AT_ONCE_CPU
    rows = max(1, at_once // flat[0].shape[-1])
    return zip(*(tensor.split(rows) for tensor in flat), strict=True)
