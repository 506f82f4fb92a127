"""Is the sparse loss the dense one?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 the field's own name

from tests.labels import random_labels
from tokenlabel import LabelError, TokenTargets, View, random_view, soft_cross_entropy, token_label_loss, token_targets

CLASSES, TOKENS = 40, (4, 3)


@pytest.fixture
def targets() -> TokenTargets:
    rng = np.random.default_rng(0)
    labels = random_labels(rng, 5, class_count=CLASSES)
    return token_targets(labels, [random_view(rng, (60, 80)) for _ in range(5)], TOKENS, keep=6)


def dense(targets: TokenTargets) -> torch.Tensor:
    """The whole distribution [b, 1 + t, C]: the remainder spread evenly over the classes that are not named."""
    out = torch.zeros(*targets.classes.shape[:2], CLASSES, dtype=torch.float64)
    named = torch.zeros_like(out, dtype=torch.bool)
    for n, place, rank in np.ndindex(*targets.classes.shape):
        if targets.probabilities[n, place, rank] > 0:
            out[n, place, targets.classes[n, place, rank]] = targets.probabilities[n, place, rank]
            named[n, place, targets.classes[n, place, rank]] = True
    rest = 1 - out.sum(-1, keepdim=True)
    return torch.where(named, out, rest / (~named).sum(-1, keepdim=True))


def test_targets_are_distributions_of_distinct_classes(targets: TokenTargets) -> None:
    assert targets.probabilities.sum(-1).max() <= 1 + 1e-5
    assert (targets.probabilities[..., :-1] >= targets.probabilities[..., 1:]).all()
    assert (targets.remainder > 0.001).any()
    for classes, probabilities in zip(targets.classes.flatten(0, 1), targets.probabilities.flatten(0, 1), strict=True):
        named = classes[probabilities > 0]
        assert len(named.unique()) == len(named)


def test_value_and_gradient_are_those_of_the_dense_distribution(targets: TokenTargets) -> None:
    logits = torch.randn(5, 13, CLASSES, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    sparse_logits, dense_logits = logits.clone().requires_grad_(), logits.double().requires_grad_()
    sparse = soft_cross_entropy(sparse_logits, targets.classes, targets.probabilities)
    whole = dense(targets)
    expected = -(whole * F.log_softmax(dense_logits, -1)).sum(-1)
    assert torch.allclose(sparse.double(), expected, rtol=1e-5)
    sparse.mean().backward()
    expected.mean().backward()
    assert torch.allclose(sparse_logits.grad.double(), dense_logits.grad, rtol=1e-4, atol=1e-8)


def test_the_best_logits_are_those_of_the_target(targets: TokenTargets) -> None:
    """At log of the target the cross-entropy is the target's entropy, and nowhere less."""
    whole = dense(targets).float().clamp_min(1e-9)
    least = soft_cross_entropy(whole.log(), targets.classes, targets.probabilities)
    entropy = -(whole * whole.log()).sum(-1)
    assert torch.allclose(least, entropy, atol=1e-3)


def test_the_loss_is_the_papers_sum(targets: TokenTargets) -> None:
    generator = torch.Generator().manual_seed(1)
    picture, tokens = torch.randn(5, CLASSES, generator=generator), torch.randn(5, 12, CLASSES, generator=generator)
    whole = dense(targets).float()
    expected = F.cross_entropy(picture, whole[:, 0]) + 0.3 * F.cross_entropy(
        tokens.flatten(0, 1), whole[:, 1:].flatten(0, 1)
    )
    assert token_label_loss(picture, tokens, targets, token_weight=0.3) == pytest.approx(expected.item(), rel=1e-5)


def test_with_a_class_label_the_annotator_speaks_for_tokens_alone(targets: TokenTargets) -> None:
    generator = torch.Generator().manual_seed(1)
    picture, tokens = torch.randn(5, CLASSES, generator=generator), torch.randn(5, 12, CLASSES, generator=generator)
    label = torch.tensor([1, 2, 3, 4, 39])
    token_part = F.cross_entropy(tokens.flatten(0, 1), dense(targets).float()[:, 1:].flatten(0, 1))
    expected = F.cross_entropy(picture, label) + 0.5 * token_part
    assert token_label_loss(picture, tokens, targets, label=label) == pytest.approx(expected.item(), rel=1e-5)


def test_tokens_outside_teach_nothing(targets: TokenTargets) -> None:
    targets.outside[0, 3] = targets.outside[2, 0] = True
    tokens = torch.randn(5, 12, CLASSES, generator=torch.Generator().manual_seed(2)).requires_grad_()
    picture = torch.zeros(5, CLASSES, requires_grad=True)
    token_label_loss(picture, tokens, targets).backward()
    assert not tokens.grad[0, 2].any()
    assert tokens.grad[0, 3].any()
    assert not picture.grad[2].any()


def test_a_model_with_other_tokens_is_told_so(targets: TokenTargets) -> None:
    with pytest.raises(LabelError, match="logits for 5 pictures of 9 tokens, the targets are for 5 of 12"):
        token_label_loss(torch.zeros(5, CLASSES), torch.zeros(5, 9, CLASSES), targets)


def test_a_model_with_fewer_classes_is_told_so(targets: TokenTargets) -> None:
    with pytest.raises(LabelError, match="the model has 7 classes; it needs as many as the annotator"):
        token_label_loss(torch.zeros(5, 7), torch.zeros(5, 12, 7), targets)


def test_a_batch_of_one_is_a_batch() -> None:
    labels = random_labels(np.random.default_rng(0), 1, class_count=CLASSES)
    targets = token_targets(labels, [View.whole()], TOKENS)
    loss = token_label_loss(torch.zeros(1, CLASSES), torch.zeros(1, 12, CLASSES), targets)
    assert loss.item() == pytest.approx(1.5 * np.log(CLASSES), rel=1e-5)
