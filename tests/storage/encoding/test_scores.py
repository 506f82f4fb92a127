"""Do probabilities survive their coding?"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from storage.encoding import scores
from tests.labels import random_labels


@settings(max_examples=200, deadline=None)
@given(
    parts=hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 30)), elements=st.floats(0, 1)),
)
def test_any_distribution_comes_back_as_probabilities_near_it(parts: np.ndarray) -> None:
    parts = parts / np.maximum(parts.sum(-1, keepdims=True), 1e-9)
    probabilities = -np.sort(-parts[..., :-1], axis=-1)
    decoded = scores.decode(scores.encode(probabilities))
    assert decoded.dtype == np.float32
    assert decoded.min() >= 0
    assert decoded.sum(-1).max() <= 1 + 1e-6
    # Of the k + 1 numbers, k are off by at most half a step of the square root; the largest takes what is left over.
    half = 0.5 / scores.STEPS
    step = 2 * half * np.sqrt(probabilities) + half**2
    assert (np.abs(decoded - probabilities)[..., 1:] <= step[..., 1:] + 1e-6).all() or probabilities.shape[-1] > 8
    assert np.abs(decoded - probabilities).max() <= 0.05 * probabilities.shape[-1]


def test_a_small_remainder_and_a_small_best_class_are_both_kept() -> None:
    sure, unsure = np.array([0.989, 0.006, 0.001]), np.array([0.011, 0.009, 0.008])
    for probabilities in (sure, unsure):
        decoded = scores.decode(scores.encode(probabilities))
        remainder = 1 - decoded.sum()
        assert abs(remainder - (1 - probabilities.sum())) < 0.003
        assert abs(decoded[0] - probabilities[0]) < 0.003


def test_divergence_stays_below_its_bound_on_peaked_maps() -> None:
    labels = random_labels(np.random.default_rng(0), 40, grid=(9, 9), k=5, class_count=100)
    decoded = scores.decode(scores.encode(labels.scores))

    def with_remainder(scores: np.ndarray) -> np.ndarray:
        return np.concatenate([scores, np.clip(1 - scores.sum(-1, keepdims=True), 0, 1)], -1).astype(np.float64)

    p, q = with_remainder(labels.scores), np.maximum(with_remainder(decoded), 1e-12)
    divergence = np.where(p > 0, p * np.log(np.maximum(p, 1e-30) / q), 0).sum(-1)
    assert divergence.mean() < 1e-4
    assert np.percentile(divergence, 99) < 1e-3


def test_codes_are_decoded_wherever_they_lie_in_memory() -> None:
    codes = scores.encode(random_labels(np.random.default_rng(2), 6).scores)
    elsewhere = np.asfortranarray(codes)
    assert (scores.decode(elsewhere) == scores.decode(codes)).all()


def test_coding_what_was_decoded_gives_the_same_bytes() -> None:
    """So that a store that is read and written again does not drift."""
    labels = random_labels(np.random.default_rng(1), 20)
    codes = scores.encode(labels.scores)
    assert (scores.decode(scores.encode(scores.decode(codes))) == scores.decode(codes)).mean() > 0.99
