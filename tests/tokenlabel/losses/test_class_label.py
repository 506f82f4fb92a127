"""Is the loss of the pictures' own classes that of their numbers, or of what mixing made of them?"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 the field's own name

from tests.tokenlabel.losses.conftest import CLASSES, whole
from tokenlabel import LabelError, TokenTargets, token_label_loss


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
