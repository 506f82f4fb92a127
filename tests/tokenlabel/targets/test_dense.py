"""Are sparse targets written out over all classes what their formula says, for losses that take nothing else?"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 the field's own name

from tests.tokenlabel.distributions import dense
from tokenlabel import TokenTargets, smooth_label, soft_cross_entropy


@pytest.fixture
def targets() -> TokenTargets:
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(12, (3, 5, 4), generator=generator, dtype=torch.int32)  # some are named twice
    probabilities = torch.rand(3, 5, 4, generator=generator) / 4
    probabilities[0, 0] = torch.tensor([0.5, 0.5, 0, 0])  # no remainder
    probabilities[1, 1] = 0  # nothing is named
    return TokenTargets(classes, probabilities, torch.zeros(3, 5, dtype=torch.bool))


def test_a_dense_target_is_what_the_sparse_one_stands_for(targets: TokenTargets) -> None:
    found = targets.dense(12)
    assert found.shape == (3, 5, 12)
    assert found.numpy() == pytest.approx(dense(targets, 12), abs=1e-6)
    torch.testing.assert_close(found.sum(-1), torch.ones(3, 5))


def test_kl_and_bce_take_dense_targets_of_tokens(targets: TokenTargets) -> None:
    logits = torch.randn(3, 4, 12, requires_grad=True)
    of_tokens = targets.dense(12)[:, 1:]
    entropy = -(of_tokens * of_tokens.clamp(min=1e-12).log()).sum(-1)
    kl = F.kl_div(F.log_softmax(logits, -1), of_tokens, reduction="none").sum(-1)
    ours = soft_cross_entropy(logits, targets.classes[:, 1:], targets.probabilities[:, 1:])
    torch.testing.assert_close(kl + entropy, ours)
    F.binary_cross_entropy_with_logits(logits, of_tokens).backward()
    assert torch.isfinite(logits.grad).all()


def test_a_smoothed_class_is_that_of_pytorch() -> None:
    logits, label = torch.randn(4, 7), torch.tensor([0, 6, 3, 3])
    expected = F.cross_entropy(logits, label, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(logits, *smooth_label(label, 0.1, class_count=7)), expected)
    torch.testing.assert_close(
        soft_cross_entropy(logits, *smooth_label((label[:, None], torch.ones(4, 1)), 0.1, class_count=7)), expected
    )
