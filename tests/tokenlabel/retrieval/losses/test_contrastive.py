"""Is the contrastive loss equation 1, and its gradient that of explicit loops; and which batches are refused?"""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from tokenlabel import LabelError
from tokenlabel.retrieval import contrastive_loss, positive_pairs


def looped(z: torch.Tensor, others: torch.Tensor, who: list[int], theirs: list[int], margin: float) -> torch.Tensor:
    """Equation 1, pair by pair; the first of the others are the batch itself."""
    total = z.new_zeros(())
    for i in range(len(z)):
        for j in range(len(others)):
            if i == j:
                continue
            cosine = sum(z[i, axis] * others[j, axis] for axis in range(z.shape[1]))
            if who[i] == theirs[j]:
                total = total + (1 - cosine)
            elif cosine > margin:
                total = total + (cosine - margin)
    return total / len(z)


@pytest.mark.parametrize("margin", [-0.2, 0.0, 0.5])
@pytest.mark.parametrize("remembered", [0, 3])
def test_it_and_its_gradient_are_those_of_explicit_loops(margin: float, remembered: int) -> None:
    generator = torch.Generator().manual_seed(remembered)
    raw = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    memory = normalize(torch.randn(remembered, 4, dtype=torch.float64, generator=generator), dim=1)
    who = [0, 0, 1, 1, 1, 2]
    theirs = [*who, *[0, 2, 3][:remembered]]
    gradients, losses = [], []
    for way in ("ours", "looped"):
        weights = raw.clone().requires_grad_()
        z = normalize(weights, dim=1)
        others = torch.cat([z, memory])
        if way == "ours":
            loss = contrastive_loss(z, others, positive_pairs(torch.tensor(who), torch.tensor(theirs)), margin=margin)
        else:
            loss = looped(z, others, who, theirs, margin)
        loss.backward()
        losses.append(loss.detach())
        gradients.append(weights.grad)
    assert torch.allclose(losses[0], losses[1], atol=1e-12)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-12)
    assert gradients[0].abs().max() > 0.01


def test_pairs_of_one_picture_are_left_out() -> None:
    """A picture that came before does not pull its descriptor to the one that it had."""
    z = torch.eye(3)
    old = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    indices, before = torch.tensor([5, 6, 7]), torch.tensor([5, 9])
    who, theirs = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1, 0, 0])
    same = indices[:, None] == torch.cat([indices, before])
    loss = contrastive_loss(z, torch.cat([z, old]), positive_pairs(who, theirs), same=same)
    # 5-6 and 6-5 cost 1 each, 6-old 5 costs 1, 5-old 9 nothing, 6-old 9 costs 1, and 7-old 5, as negatives, 0.5.
    assert float(loss) == pytest.approx((1 + 1 + 1 + 0 + 1 + 0.5) / 3)


def test_a_picture_is_left_out_even_if_it_is_not_said_to_belong_to_itself() -> None:
    z = normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    who = torch.tensor([0, 0, 1, 1, 1, 2])
    positive = positive_pairs(who, who)
    assert torch.equal(
        contrastive_loss(z, z, positive & ~torch.eye(6, dtype=torch.bool)), contrastive_loss(z, z, positive)
    )
    with pytest.raises(LabelError, match="all 3 pictures of the batch belong together"):
        contrastive_loss(z[2:5], z[2:5], ~torch.eye(3, dtype=torch.bool))


def test_it_is_computed_in_float32_under_autocast() -> None:
    z = normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    who = torch.arange(8) % 2
    plain = contrastive_loss(z, z, positive_pairs(who, who))
    exact = contrastive_loss(z.double(), z.double(), positive_pairs(who, who))
    assert float(plain) == pytest.approx(float(exact), rel=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(contrastive_loss(z, z, positive_pairs(who, who)), plain)


def test_a_batch_of_one_class_or_of_one_picture_is_refused() -> None:
    z = torch.eye(3)
    with pytest.raises(
        LabelError, match="all 3 pictures of the batch belong together.*draw batches of several classes"
    ):
        contrastive_loss(z, z, torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(LabelError, match="a batch of 1 picture has no pairs to learn from; draw several pictures of"):
        contrastive_loss(z[:1], z[:1], torch.ones(1, 1, dtype=torch.bool))
    with pytest.raises(LabelError, match="a batch of 0 pictures has no pairs"):
        contrastive_loss(z[:0], z[:0], torch.ones(0, 0, dtype=torch.bool))
    # One class is enough where the memory has another.
    others = torch.cat([z, torch.ones(1, 3) / 3**0.5])
    assert contrastive_loss(z, others, torch.tensor([[True, True, True, False]] * 3)) > 0


def test_what_does_not_match_is_refused() -> None:
    z, positive = torch.eye(3), torch.eye(3, dtype=torch.bool)
    with pytest.raises(LabelError, match=r"the loss takes descriptors .* not \[3, 3\], \[2, 3\] and \[3, 3\]"):
        contrastive_loss(z, z[:2], positive)
    with pytest.raises(LabelError, match=r"the margin is a cosine in \[-1, 1\), not 1.0; 0.5 is the paper's"):
        contrastive_loss(z, z, positive, margin=1.0)
