"""Is the sparse loss the dense one?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812 the field's own name
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tokenlabel.distributions import random_targets
from tests.tokenlabel.losses.conftest import CLASSES, whole
from tokenlabel import LabelError, TokenTargets, soft_cross_entropy


def test_targets_are_distributions_of_distinct_classes(targets: TokenTargets) -> None:
    assert targets.probabilities.sum(-1).max() <= 1 + 1e-5
    assert (targets.remainder > 0.001).any()
    assert torch.equal(targets.distinct, targets.probabilities > 0)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 9),
    class_count=st.sampled_from([2, 12, 1000]),
    scale=st.sampled_from([0.0, 1.0, 8.0]),
    left_out=st.booleans(),
)
def test_value_and_gradient_are_those_of_the_dense_distribution(
    seed: int, m: int, class_count: int, scale: float, left_out: bool
) -> None:
    """To 1e-6 in float32, beside float64 and autograd; with classes named twice, and with nothing named.

    With few classes a model may be all but right, and its error a difference of larger numbers, which are rounded:
    the softmax three times, the target twice, its sum, their product, and the difference.
    """
    rng = np.random.default_rng(seed)
    targets = random_targets(rng, m=m, class_count=class_count)
    if left_out:
        targets = targets.renormalised()
    drawn = torch.from_numpy(rng.normal(scale=scale, size=(3, 5, class_count)).astype(np.float32))
    weights = torch.from_numpy(rng.random((3, 5)))
    logits, wide = drawn.clone().requires_grad_(), drawn.double().requires_grad_()
    found = soft_cross_entropy(logits, targets.classes, targets.probabilities)
    expected = -(whole(targets, class_count) * F.log_softmax(wide, -1)).sum(-1)
    assert found.dtype == torch.float32
    rounded = 0 if class_count == 1000 else 3e-7 * F.log_softmax(wide, -1).abs().amax(-1)
    assert ((found.double() - expected).abs() <= 1e-6 * expected + rounded).all()
    (found * weights.float()).sum().backward()
    (expected * weights).sum().backward()
    error = (logits.grad.double() - wide.grad).norm(dim=-1)
    eight_roundings = 8 * torch.finfo(torch.float32).eps / 2
    assert (error <= 1e-6 * wide.grad.norm(dim=-1) + eight_roundings * weights).all()


def test_it_is_as_exact_where_a_batch_is_processed_in_parts() -> None:
    """At 21,841 classes, with names that half precision or 16 bits with a sign could not hold."""
    rng = np.random.default_rng(0)
    targets = random_targets(rng, 4, 30, m=8, class_count=21_841)
    drawn = torch.from_numpy(rng.normal(size=(4, 31, 21_841)).astype(np.float32))
    logits, wide = drawn.clone().requires_grad_(), drawn.double().requires_grad_()
    found = soft_cross_entropy(logits, targets.classes, targets.probabilities)
    expected = -(whole(targets, 21_841) * F.log_softmax(wide, -1)).sum(-1)
    assert torch.allclose(found.double(), expected, rtol=1e-6)
    found.mean().backward()
    expected.mean().backward()
    assert (logits.grad.double() - wide.grad).norm() <= 1e-6 * wide.grad.norm()


def test_the_gradient_is_that_of_finite_differences() -> None:
    targets = random_targets(np.random.default_rng(3), 2, 2, m=4, class_count=6)
    logits = torch.randn(2, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: soft_cross_entropy(z, targets.classes, targets.probabilities), logits)


def test_half_precision_logits_are_summed_in_float32(targets: TokenTargets) -> None:
    logits = torch.randn(5, 13, CLASSES, generator=torch.Generator().manual_seed(0)).bfloat16()
    half, full = logits.clone().requires_grad_(), logits.float().requires_grad_()
    values = [soft_cross_entropy(z, targets.classes, targets.probabilities) for z in (half, full)]
    assert torch.equal(*values)
    for value in values:
        value.sum().backward()
    assert half.grad.dtype == torch.bfloat16
    assert torch.equal(half.grad, full.grad.bfloat16())


def test_logits_that_do_not_lie_in_a_row_are_taken_as_they_are(targets: TokenTargets) -> None:
    """A model may cut its class token off, or keep channels first."""
    drawn = torch.randn(5, CLASSES, 14, generator=torch.Generator().manual_seed(0))
    views = [drawn.clone().requires_grad_() for _ in range(2)]
    for view, logits in zip(
        views, [views[0].transpose(1, 2)[:, 1:], views[1].transpose(1, 2)[:, 1:].contiguous()], strict=True
    ):
        soft_cross_entropy(logits, targets.classes, targets.probabilities).square().sum().backward()
        assert view.grad[..., 1:].any()
    assert torch.equal(views[0].grad, views[1].grad)


def test_the_best_logits_are_those_of_the_target(targets: TokenTargets) -> None:
    """At log of the target the cross-entropy is the target's entropy, and nowhere less."""
    best = whole(targets).float().clamp_min(1e-9)
    least = soft_cross_entropy(best.log(), targets.classes, targets.probabilities)
    entropy = -(best * best.log()).sum(-1)
    assert torch.allclose(least, entropy, atol=1e-3)


class Large(TorchDispatchMode):
    """Which memory of more than so many bytes the operations write to."""

    def __init__(self, nbytes: int) -> None:
        super().__init__()
        self.nbytes, self.places = nbytes, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.untyped_storage().nbytes() > self.nbytes:
            self.places.add(out.untyped_storage().data_ptr())
        return out


def test_no_dense_target_and_no_copy_of_the_logits_is_made() -> None:
    targets = random_targets(np.random.default_rng(0), 8, 196, m=8, class_count=8_000)
    logits = torch.zeros(8, 197, 8_000, requires_grad=True)
    with Large(logits.nbytes // 8) as forward:
        loss = soft_cross_entropy(logits, targets.classes, targets.probabilities).mean()
    with Large(logits.nbytes // 8) as backward:
        loss.backward()
    assert forward.places == {logits.data_ptr()}
    assert backward.places == {logits.data_ptr(), logits.grad.data_ptr()}


def test_a_remainder_that_is_rounding_is_none() -> None:
    """Else a class that a model all but excludes would be taught by it."""
    logits = torch.tensor([0.0, 0.0, -1e6])
    value = soft_cross_entropy(logits, torch.tensor([0, 1]), torch.tensor([0.5, 0.5 - 1e-7]))
    assert value.item() == pytest.approx(np.log(2), rel=1e-6)


def test_targets_that_require_a_gradient_are_refused(targets: TokenTargets) -> None:
    with pytest.raises(LabelError, match="no gradient to its targets; detach"):
        soft_cross_entropy(torch.zeros(5, 13, CLASSES), targets.classes, targets.probabilities.requires_grad_())
