"""Is the loss the paper's sum, over what the student is taught and nothing else?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 the field's own name

from tests.labels import random_labels
from tests.tokenlabel.losses.conftest import CLASSES, TOKENS, whole
from tokenlabel import LabelError, TokenTargets, View, token_label_loss, token_targets


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


def test_a_model_without_tokens_is_refused(targets: TokenTargets) -> None:
    with pytest.raises(
        LabelError, match=r"the logits of tokens must be \[b, t, C\], not \[2, 5\]; a model without plac"
    ):
        token_label_loss(torch.zeros(2, 5), torch.zeros(2, 5), targets)


def test_a_model_with_fewer_classes_is_refused(targets: TokenTargets) -> None:
    with pytest.raises(LabelError, match="but the model has 7 classes; it needs as many as the annotator"):
        token_label_loss(torch.zeros(5, 7), torch.zeros(5, 12, 7), targets)


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


def test_logits_of_other_pictures_or_classes_are_refused(
    targets: TokenTargets, logits: tuple[torch.Tensor, torch.Tensor]
) -> None:
    for picture in (torch.zeros(5, CLASSES - 1), torch.zeros(1, CLASSES), torch.zeros(5)):
        with pytest.raises(LabelError, match=rf"must be \[5, {CLASSES}\], as those of their tokens are"):
            token_label_loss(picture, logits[1], targets)
