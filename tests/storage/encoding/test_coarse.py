"""Do rounded codes still mean valid probabilities, close to those that were rounded?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.encoding import scores
from storage.encoding.coarse import coarse_codes


def probabilities(seed: int, k: int) -> np.ndarray:
    """Of 400 locations, best first: from even ones to those of one class alone."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(400, k + 3)) * rng.uniform(0, 8, size=(400, 1))
    all_of_them = np.exp(logits - logits.max(-1, keepdims=True))
    return -np.sort(-all_of_them / all_of_them.sum(-1, keepdims=True), axis=-1)[:, :k]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 64))
def test_rounded_codes_are_multiples_in_order_that_sum_to_at_most_1(seed: int, k: int, multiple: int) -> None:
    codes = scores.encode(probabilities(seed, k))
    coarse = coarse_codes(codes, multiple)
    assert (coarse % scores.FLAG % multiple == 0).all()
    assert (coarse[:, 1:] < scores.FLAG).all()
    assert (coarse % scores.FLAG).max() <= 90  # no number that is written exceeds 1/2
    assert ((coarse[:, 0] >= scores.FLAG) == (codes[:, 0] >= scores.FLAG)).all()
    assert scores.mass(coarse).max() <= 1
    decoded = scores.decode(coarse)
    assert decoded.min() >= 0
    assert decoded.sum(-1).max() <= 1
    assert (decoded[:, 1:] <= decoded[:, :-1]).all()


@pytest.mark.parametrize(("multiple", "most"), [(2, 1e-3), (8, 2e-2)])
def test_rounding_costs_little(multiple: int, most: float) -> None:
    exact = probabilities(0, 5)
    decoded = scores.decode(coarse_codes(scores.encode(exact), multiple))
    p, q = (np.concatenate([each, np.clip(1 - each.sum(-1, keepdims=True), 1e-12, 1)], -1) for each in (exact, decoded))
    hellinger = ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(-1)
    assert hellinger.mean() < most


def test_a_number_of_one_half_is_not_rounded_beyond_it() -> None:
    codes = scores.encode(np.array([[0.5, 0.499]]))
    assert codes[0, 1] == 90
    assert coarse_codes(codes, 23)[0, 1] == 69


def test_a_multiple_of_1_changes_nothing_and_others_are_refused() -> None:
    codes = scores.encode(probabilities(0, 5))
    assert (coarse_codes(codes, 1) == codes).all()
    for multiple in (0, 65):
        with pytest.raises(ValueError, match="multiples of 1 to 64"):
            coarse_codes(codes, multiple)
