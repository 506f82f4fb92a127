"""Is the sparse loss the dense one?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812 the field's own name
from torch.utils._python_dispatch import TorchDispatchMode

from tests.labels import random_labels
from tests.tokenlabel.distributions import dense, random_targets
from tokenlabel import LabelError, TokenTargets, View, random_view, soft_cross_entropy, token_label_loss, token_targets

CLASSES, TOKENS = 40, (4, 3)


@pytest.fixture
def targets() -> TokenTargets:
    rng = np.random.default_rng(0)
    labels = random_labels(rng, 5, class_count=CLASSES)
    return token_targets(labels, [random_view(rng, (60, 80)) for _ in range(5)], TOKENS, keep=6)


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    """Of the pictures and of their tokens."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, CLASSES, generator=generator), torch.randn(5, 12, CLASSES, generator=generator)


def whole(targets: TokenTargets, class_count: int = CLASSES) -> torch.Tensor:
    return torch.from_numpy(dense(targets, class_count))


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

    With few classes a model may be all but right, and its error a difference of larger numbers, which are rounded.
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
    assert (error <= 1e-6 * wide.grad.norm(dim=-1) + 2e-7 * weights).all()


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


def test_an_entry_that_names_nothing_may_hold_any_number() -> None:
    targets = TokenTargets(
        torch.tensor([[[1, 65_535]] * 2]), torch.tensor([[[0.5, 0.0]] * 2]), torch.zeros(1, 2, dtype=torch.bool)
    )
    picture, tokens = torch.zeros(1, 7), torch.zeros(1, 1, 7)
    assert token_label_loss(picture, tokens, targets).item() == pytest.approx(1.5 * np.log(7))


def test_the_loss_is_the_papers_sum(targets: TokenTargets, logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    picture, tokens = logits
    expected = F.cross_entropy(picture, whole(targets).float()[:, 0]) + 0.3 * F.cross_entropy(
        tokens.flatten(0, 1), whole(targets).float()[:, 1:].flatten(0, 1)
    )
    assert token_label_loss(picture, tokens, targets, token_weight=0.3) == pytest.approx(expected.item(), rel=1e-5)


def token_part(targets: TokenTargets, tokens: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(tokens.flatten(0, 1), whole(targets).float()[:, 1:].flatten(0, 1))


def test_with_a_class_label_the_annotator_labels_only_tokens(
    targets: TokenTargets, logits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    label = torch.tensor([1, 2, 3, 4, 39])
    expected = F.cross_entropy(logits[0], label) + 0.5 * token_part(targets, logits[1])
    assert token_label_loss(*logits, targets, label=label) == pytest.approx(expected.item(), rel=1e-5)


def test_a_mixed_label_is_taken_as_mixing_gives_it(
    targets: TokenTargets, logits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    label = torch.tensor([[1, 39], [2, 4], [3, 3], [4, 2], [39, 1]])
    weights = torch.tensor([[0.25, 0.75]] * 5)
    mixed = 0.25 * F.one_hot(label[:, 0], CLASSES) + 0.75 * F.one_hot(label[:, 1], CLASSES)
    expected = F.cross_entropy(logits[0], mixed) + 0.5 * token_part(targets, logits[1])
    assert token_label_loss(*logits, targets, label=(label, weights)) == pytest.approx(expected.item(), rel=1e-5)


def test_labels_of_another_form_are_refused(targets: TokenTargets, logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.raises(LabelError, match=r"class numbers of 5 pictures, int64 \[5\], not torch.int64 \[4\]"):
        token_label_loss(*logits, targets, label=torch.zeros(4, dtype=torch.int64))
    with pytest.raises(LabelError, match=r"not torch.float32 \[5, 40\]. If mixup made a dense label .* not mix"):
        token_label_loss(*logits, targets, label=torch.zeros(5, CLASSES))
    with pytest.raises(LabelError, match=r"soft label of 5 pictures .* not \[5, 2\] and \[5, 1\]"):
        token_label_loss(*logits, targets, label=(torch.zeros(5, 2, dtype=torch.int64), torch.zeros(5, 1)))


def test_tokens_outside_teach_nothing(targets: TokenTargets) -> None:
    targets.outside[0, 3] = targets.outside[2, 0] = True
    tokens = torch.randn(5, 12, CLASSES, generator=torch.Generator().manual_seed(2)).requires_grad_()
    picture = torch.zeros(5, CLASSES, requires_grad=True)
    token_label_loss(picture, tokens, targets).backward()
    assert not tokens.grad[0, 2].any()
    assert tokens.grad[0, 3].any()
    assert not picture.grad[2].any()


def test_a_batch_with_everything_outside_has_no_loss(
    targets: TokenTargets, logits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    targets.outside[:] = True
    assert token_label_loss(*logits, targets) == 0


def test_a_model_with_other_tokens_is_refused(targets: TokenTargets) -> None:
    with pytest.raises(LabelError, match="logits for 5 pictures of 9 tokens, the targets are for 5 of 12"):
        token_label_loss(torch.zeros(5, CLASSES), torch.zeros(5, 9, CLASSES), targets)


def test_a_model_with_fewer_classes_is_refused(targets: TokenTargets) -> None:
    with pytest.raises(LabelError, match="but the model has 7 classes; it needs as many as the annotator"):
        token_label_loss(torch.zeros(5, 7), torch.zeros(5, 12, 7), targets)


def test_targets_that_require_a_gradient_are_refused(targets: TokenTargets) -> None:
    with pytest.raises(LabelError, match="no gradient to its targets; detach"):
        soft_cross_entropy(torch.zeros(5, 13, CLASSES), targets.classes, targets.probabilities.requires_grad_())


def test_a_batch_of_one_is_a_batch() -> None:
    labels = random_labels(np.random.default_rng(0), 1, class_count=CLASSES)
    targets = token_targets(labels, [View.whole()], TOKENS)
    loss = token_label_loss(torch.zeros(1, CLASSES), torch.zeros(1, 12, CLASSES), targets)
    assert loss.item() == pytest.approx(1.5 * np.log(CLASSES), rel=1e-5)


def test_what_is_left_out_may_have_any_value(targets: TokenTargets, logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Even not a number: they are not weighted with 0, but not read."""
    outside = targets.outside.clone()
    outside[2, 1:4] = True
    some = TokenTargets(targets.classes, targets.probabilities, outside)
    picture, tokens = logits
    expected, broken = tokens.clone().requires_grad_(), tokens.clone()
    broken[2, :3] = torch.nan
    broken.requires_grad_()
    losses = [token_label_loss(picture, each, some) for each in (expected, broken)]
    assert losses[0] == losses[1]
    for loss in losses:
        loss.backward()
    assert torch.equal(expected.grad, broken.grad)
    assert not broken.grad[2, :3].any()


def test_the_loss_of_no_pictures_is_zero(targets: TokenTargets) -> None:
    picture = torch.zeros(0, CLASSES, requires_grad=True)
    tokens = torch.zeros(0, 12, CLASSES, requires_grad=True)
    for label in (None, torch.zeros(0, dtype=torch.int64)):
        loss = token_label_loss(picture, tokens, targets[:0], label=label)
        assert loss == 0
        loss.backward()


@pytest.mark.parametrize("label", [-100, -1, CLASSES])
def test_a_class_that_the_model_does_not_have_is_refused(
    label: int, targets: TokenTargets, logits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    wrong = torch.tensor([0, 1, label, 3, 4])
    with pytest.raises(
        LabelError, match=f"label holds class .*{label}.* but the model has {CLASSES} classes; leave out"
    ):
        token_label_loss(*logits, targets, label=wrong)
    soft = wrong[:, None], torch.ones(5, 1)
    with pytest.raises(LabelError, match=f"but the model has {CLASSES} classes"):
        token_label_loss(*logits, targets, label=soft)


def test_logits_of_other_pictures_or_classes_are_refused(
    targets: TokenTargets, logits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    for picture in (torch.zeros(5, CLASSES - 1), torch.zeros(1, CLASSES), torch.zeros(5)):
        with pytest.raises(LabelError, match=rf"must be \[5, {CLASSES}\], as those of their tokens are"):
            token_label_loss(picture, logits[1], targets)
