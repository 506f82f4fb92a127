"""Is the sparse loss finite for masked classes, and can it be differentiated twice, and by torch.func?"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 the field's own name

from tokenlabel import TokenTargets, smooth_label, soft_cross_entropy, token_label_loss
from tokenlabel.losses.class_label import class_label_loss

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


@pytest.mark.parametrize("smooth", [False, True])
def test_torch_func_gives_each_pictures_gradient_with_its_own_targets(smooth: bool) -> None:
    """Per-sample gradients, as differential privacy and influence functions take them."""
    tokens, label = torch.randn(4, 2, 9), torch.tensor([0, 8, 3, 3])
    classes, probabilities = CLASSES.expand(4, 3, 3), PROBABILITIES.expand(4, 3, 3) * torch.rand(4, 1, 1)
    outside = torch.rand(4, 3) < 0.3

    def loss(tokens: torch.Tensor, label: torch.Tensor, *target: torch.Tensor) -> torch.Tensor:
        targets = TokenTargets(*(part[None] for part in target)).smoothed(0.1, class_count=9)
        own = smooth_label(label[None], 0.1, class_count=9) if smooth else label[None]
        targets = targets.blend_labels(label[None], class_count=9, token_weight=0.9)
        return token_label_loss(tokens.mean(0)[None], tokens[None], targets, label=own)

    pictures = tokens, label, classes, probabilities, outside
    found = torch.func.vmap(torch.func.grad(loss))(*pictures)
    for i in range(4):
        logits = tokens[i].clone().requires_grad_()
        loss(logits, *(part[i] for part in pictures[1:])).backward()
        torch.testing.assert_close(found[i], logits.grad)


def test_targets_are_written_out_under_torch_func() -> None:
    targets = CLASSES.expand(4, 3, 3), PROBABILITIES.expand(4, 3, 3), torch.zeros(4, 3, dtype=torch.bool)
    dense = torch.func.vmap(lambda *one: TokenTargets(*one).dense(9))(*targets)
    torch.testing.assert_close(dense, TokenTargets(*targets).dense(9))


# What torch says of its own jit and graphs when it goes forwards.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated", "ignore:Attempted to insert a get_attr Node")
def test_jacobians_are_taken_for_all_rows_at_once_forwards_and_as_a_line() -> None:
    logits = torch.randn(3, 9)
    expected, jacobian = torch.func.jacrev(plain)(logits), torch.autograd.functional.jacobian
    torch.testing.assert_close(jacobian(ours, logits, vectorize=True), expected)
    torch.testing.assert_close(jacobian(ours, logits, vectorize=True, strategy="forward-mode"), expected)
    value, line = torch.func.linearize(ours, logits)
    torch.testing.assert_close(value, plain(logits))
    torch.testing.assert_close(line(logits), (expected * logits).sum((-1, -2)))


@pytest.mark.parametrize("number", [-100, -1, 9])
def test_a_class_that_does_not_exist_fails_where_it_is_not_checked(number: int) -> None:
    """-100 as well, which torch would leave out of the mean."""
    label = torch.tensor([0, number])
    with pytest.raises(IndexError, match="out of bounds"):
        torch.func.grad(lambda logits: class_label_loss(logits, label))(torch.zeros(2, 9))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_ways_to_the_gradient_agree(dtype: torch.dtype) -> None:
    logits = torch.randn(3, 9, dtype=dtype, requires_grad=True)
    (once,) = torch.autograd.grad(ours(logits).sum(), logits)
    (again,) = torch.autograd.grad(ours(logits).sum(), logits, create_graph=True)
    torch.testing.assert_close(once, again.detach())


def test_a_row_that_is_left_out_has_no_gradient_however_often_it_is_differentiated() -> None:
    """Even where its logits are not finite: 0 times NaN would be NaN."""
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    logits[1] = float("nan")
    logits.requires_grad_()
    value = soft_cross_entropy(logits, torch.tensor([[2], [3], [4]]), torch.full((3, 1), 0.6))
    (gradient,) = torch.autograd.grad(value[[0, 2]].sum(), logits, create_graph=True)
    assert torch.equal(gradient[1], torch.zeros(5))
    assert gradient[[0, 2]].norm() > 0
