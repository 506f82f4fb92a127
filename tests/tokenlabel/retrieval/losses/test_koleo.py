"""Is KoLeo equation 5, finite where descriptors are equal, and in float32 whatever autocast says?"""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from tokenlabel import LabelError
from tokenlabel.retrieval import koleo_loss, mean_log_distance


def looped(z: torch.Tensor) -> torch.Tensor:
    total = z.new_zeros(())
    for i in range(len(z)):
        distances = [(z[i] - z[j]).square().sum().sqrt() for j in range(len(z)) if j != i]
        total = total - min(distances).log()
    return total / len(z)


def test_it_and_its_gradient_are_those_of_explicit_loops() -> None:
    raw = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for loss in (lambda z: koleo_loss(z, least=1e-9), looped):
        weights = raw.clone().requires_grad_()
        value = loss(normalize(weights, dim=1))
        value.backward()
        found.append((value.detach(), weights.grad))
    (ours, our_gradient), (theirs, their_gradient) = found
    assert torch.allclose(ours, theirs, atol=1e-9)
    assert torch.allclose(our_gradient, their_gradient, atol=1e-9)
    assert our_gradient.abs().max() > 0.01


def test_equal_descriptors_have_finite_gradients_and_others_still_learn() -> None:
    raw = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    raw[1] = raw[0]
    weights = raw.requires_grad_()
    loss = koleo_loss(normalize(weights, dim=1))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(weights.grad).all()
    assert weights.grad[2:].abs().max() > 0
    near = torch.tensor([[1.0, 0.0], [1.0, 1e-6], [0.0, 1.0]], requires_grad=True)
    koleo_loss(near).backward()
    assert near.grad.abs().max() <= 2 * (1 / 2e-4) / 3 + 1  # two pictures push, each at most 1 / 2ε long


def test_a_step_down_its_gradient_parts_the_nearest() -> None:
    z = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.5]]), dim=1).requires_grad_()
    koleo_loss(z).backward()
    with torch.no_grad():
        moved = normalize(z - 0.001 * z.grad, dim=1)
    assert (moved[0] - moved[1]).norm() > (z[0] - z[1]).norm()


def test_it_is_computed_in_float32_under_autocast() -> None:
    z = normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(koleo_loss(z), koleo_loss(z.clone()))
        assert koleo_loss(z.bfloat16()).dtype == torch.float32
        inside = koleo_loss(z)
    assert torch.equal(inside, koleo_loss(z))
    many = normalize(torch.randn(200, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    distances = torch.cdist(many.double(), many.double()).fill_diagonal_(torch.inf)
    with torch.autocast("cpu", torch.bfloat16):  # in bfloat16 another would be the nearest of some
        assert float(koleo_loss(many)) == pytest.approx(-float(distances.amin(1).log().mean()), rel=1e-5)


def test_one_picture_is_refused() -> None:
    with pytest.raises(LabelError, match="KoLeo needs a nearest other picture, but was given 1 descriptor; give a ba"):
        koleo_loss(torch.ones(1, 4))
    with pytest.raises(LabelError, match="was given 0 descriptors"):
        mean_log_distance(torch.ones(0, 4))


def test_the_mean_log_distance_is_minus_koleo_of_all_in_chunks() -> None:
    z = normalize(torch.randn(23, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    assert mean_log_distance(z, rows=4) == pytest.approx(-float(looped(z.double())), abs=1e-9)
    longer = z.double() * torch.arange(1, 24)[:, None]  # of other lengths, so that the largest product is not nearest
    assert mean_log_distance(longer) == pytest.approx(-float(looped(longer)), abs=1e-9)
    corners = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert mean_log_distance(corners) == pytest.approx(math.log(2) / 2)
