"""Is the sparse loss finite for masked classes, and can it be differentiated twice, and by torch.func?"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 the field's own name

from tokenlabel import TokenTargets, soft_cross_entropy

CLASSES = torch.tensor([[0, 1, 7], [3, 3, 2], [5, 4, 0]], dtype=torch.int32)
PROBABILITIES = torch.tensor([[0.6, 0.3, 0.0], [0.2, 0.3, 0.1], [0.5, 0.25, 0.25]])


def plain(logits: torch.Tensor) -> torch.Tensor:
    """The same by the dense targets."""
    targets = TokenTargets(CLASSES[None], PROBABILITIES[None], torch.zeros(1, 3, dtype=torch.bool))
    return -(targets.dense(9)[0].to(logits) * F.log_softmax(logits, -1)).sum(-1)


def ours(logits: torch.Tensor) -> torch.Tensor:
    return soft_cross_entropy(logits, CLASSES, PROBABILITIES)


def test_a_masked_class_without_a_target_costs_nothing() -> None:
    logits = torch.randn(1, 10)
    logits[0, 5:] = -torch.inf
    logits.requires_grad_()
    value = soft_cross_entropy(logits, torch.tensor([[0, 1]]), torch.tensor([[0.6, 0.4]]))
    value.sum().backward()
    expected = -(torch.tensor([0.6, 0.4]) * F.log_softmax(logits[:, :5].detach(), -1)[0, :2]).sum()
    torch.testing.assert_close(value[0].detach(), expected)
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0, 5:] == 0).all()


def test_a_masked_class_with_a_target_costs_without_limit() -> None:
    logits = torch.zeros(1, 4)
    logits[0, 3] = -torch.inf
    for probability in (0.7, 1.0):  # the remainder is spread over the masked class too; or it is named
        named = torch.tensor([[0 if probability < 1 else 3]])
        assert soft_cross_entropy(logits, named, torch.tensor([[probability]])).isinf().all()


def test_it_is_differentiated_twice() -> None:
    logits = torch.randn(3, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours, logits)
    assert torch.autograd.gradgradcheck(ours, logits)


def test_a_gradient_penalty_trains() -> None:
    logits = torch.randn(3, 9, requires_grad=True)
    norms = []
    for loss in (ours, plain):
        (gradient,) = torch.autograd.grad(loss(logits).sum(), logits, create_graph=True)
        norms.append(torch.autograd.grad(gradient.square().sum(), logits)[0])
    torch.testing.assert_close(*norms)


def test_torch_func_differentiates_and_maps_it() -> None:
    logits = torch.randn(5, 3, 9)
    mapped = torch.func.vmap(ours)(logits)
    torch.testing.assert_close(mapped, torch.stack([ours(each) for each in logits]))
    gradient = torch.func.vmap(torch.func.grad(lambda each: ours(each).sum()))(logits)
    expected = [torch.func.grad(lambda each: plain(each).sum())(each) for each in logits]
    torch.testing.assert_close(gradient, torch.stack(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_ways_to_the_gradient_agree(dtype: torch.dtype) -> None:
    logits = torch.randn(3, 9, dtype=dtype, requires_grad=True)
    (once,) = torch.autograd.grad(ours(logits).sum(), logits)
    (again,) = torch.autograd.grad(ours(logits).sum(), logits, create_graph=True)
    torch.testing.assert_close(once, again.detach())
