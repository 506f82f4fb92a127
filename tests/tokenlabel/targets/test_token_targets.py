"""Is what is done to sparse targets what would be done to the distributions that they stand for?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.labels import random_labels
from tests.tokenlabel.distributions import dense, random_targets
from tokenlabel import LabelError, TokenTargets, View, token_targets

CLASSES = 12

seeds = st.integers(0, 2**32 - 1)
entries = st.integers(1, 7)


def drawn(seed: int, m: int = 5) -> tuple[np.random.Generator, TokenTargets]:
    rng = np.random.default_rng(seed)
    return rng, random_targets(rng, m=m, class_count=CLASSES)


def one_hot(label: torch.Tensor) -> np.ndarray:
    return np.eye(CLASSES)[label.numpy()][:, None]


@settings(max_examples=100, deadline=None)
@given(seed=seeds, m=entries)
def test_remainder_and_share_are_what_the_named_classes_leave(seed: int, m: int) -> None:
    _, targets = drawn(seed, m)
    whole = dense(targets, CLASSES)
    distinct, remainder, share = targets.distinct.sum(-1), targets.remainder, targets.probability_of_unnamed(CLASSES)
    for n, place in np.ndindex(*targets.outside.shape):
        named = set(targets.classes[n, place][targets.probabilities[n, place] > 0].tolist())
        others = [name for name in range(CLASSES) if name not in named]
        assert distinct[n, place] == len(named)
        assert remainder[n, place] == pytest.approx(whole[n, place, others].sum(), abs=1e-6)
        assert share[n, place] == pytest.approx(whole[n, place, others[0]], abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(seed=seeds, m=entries)
def test_the_probability_of_a_class_is_that_of_the_distribution(seed: int, m: int) -> None:
    rng, targets = drawn(seed, m)
    label = torch.from_numpy(rng.integers(CLASSES, size=3))
    found = targets.probability_of(label, class_count=CLASSES)
    assert found.numpy() == pytest.approx((dense(targets, CLASSES) * one_hot(label)).sum(-1), abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(seed=seeds, m=entries)
def test_without_its_remainder_a_position_is_what_it_names(seed: int, m: int) -> None:
    _, targets = drawn(seed, m)
    left_out = targets.renormalised()
    named = np.zeros((3, 5, CLASSES))
    for n, place, rank in np.ndindex(*targets.classes.shape):
        named[n, place, targets.classes[n, place, rank]] += targets.probabilities[n, place, rank].item()
    empty = named.sum(-1) == 0
    assert (left_out.outside.numpy() == (targets.outside.numpy() | empty)).all()
    named[~empty] /= named[~empty].sum(-1, keepdims=True)
    assert dense(left_out, CLASSES)[~empty] == pytest.approx(named[~empty], abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(seed=seeds, m=entries, temperature=st.sampled_from([0.05, 0.5, 1.0, 1.7, 20.0]), left_out=st.booleans())
def test_a_temperature_is_that_of_the_distribution(seed: int, m: int, temperature: float, left_out: bool) -> None:
    _, targets = drawn(seed, m)
    if left_out:
        targets = targets.renormalised()
    expected = dense(targets, CLASSES) ** (1 / temperature)
    expected /= expected.sum(-1, keepdims=True)
    found = targets.tempered(temperature, class_count=CLASSES)
    # A high temperature lifts a small remainder, which float32 knows to 1e-7, and its rounding with it.
    assert dense(found, CLASSES) == pytest.approx(expected, abs=5e-4 if temperature > 2 else 3e-6)
    assert found.outside is targets.outside


def test_a_high_temperature_does_not_raise_rounding_errors() -> None:
    """0.1 ten times is 1 but for rounding; the 21,831 other classes have no part in it."""
    targets = TokenTargets(
        torch.arange(10, dtype=torch.int32)[None, None],
        torch.full((1, 1, 10), 0.1),
        torch.zeros(1, 1, dtype=torch.bool),
    )
    targets = TokenTargets(targets.classes, targets.probabilities * (1 - 3e-8), targets.outside)
    assert targets.tempered(10.0, class_count=21_841).probabilities.sum() == pytest.approx(1)


@settings(max_examples=100, deadline=None)
@given(seed=seeds, m=entries, smoothing=st.sampled_from([0.0, 0.1, 0.7, 1.0]))
def test_smoothing_is_that_of_the_distribution_and_sums_to_one(seed: int, m: int, smoothing: float) -> None:
    _, targets = drawn(seed, m)
    found = dense(targets.smoothed(smoothing, class_count=CLASSES), CLASSES)
    assert found == pytest.approx((1 - smoothing) * dense(targets, CLASSES) + smoothing / CLASSES, abs=1e-6)
    assert found.sum(-1) == pytest.approx(np.ones((3, 5)), abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(seed=seeds, m=entries, weights=st.tuples(*[st.sampled_from([0.0, 0.3, 1.0])] * 2))
def test_the_class_is_mixed_into_picture_and_tokens_by_their_weights(
    seed: int, m: int, weights: tuple[float, float]
) -> None:
    rng, targets = drawn(seed, m)
    label = torch.from_numpy(rng.integers(CLASSES, size=3))
    found = targets.blend_labels(label, class_count=CLASSES, image_weight=weights[0], token_weight=weights[1])
    weight = np.array([weights[0]] + [weights[1]] * 4)[None, :, None]
    expected = weight * dense(targets, CLASSES) + (1 - weight) * one_hot(label)
    assert dense(found, CLASSES) == pytest.approx(expected, abs=1e-6)
    assert (found.outside == targets.outside).all()


def test_where_the_annotator_has_all_the_weight_no_class_is_added() -> None:
    """A class added with its probability in the remainder would stay when the remainder is left out."""
    targets = TokenTargets(torch.tensor([[[3]]]), torch.tensor([[[0.5]]]), torch.tensor([[False]]))
    found = targets.blend_labels(torch.tensor([7]), class_count=CLASSES).renormalised()
    assert dense(found, CLASSES)[0, 0, 3] == 1


@settings(max_examples=100, deadline=None)
@given(seed=seeds, m=entries, threshold=st.sampled_from([0.0, 0.02, 0.2, 0.9]))
def test_tokens_that_disagree_with_the_pictures_class_are_dropped(seed: int, m: int, threshold: float) -> None:
    rng, targets = drawn(seed, m)
    label = torch.from_numpy(rng.integers(CLASSES, size=3))
    doubtful = (dense(targets, CLASSES) * one_hot(label)).sum(-1) < threshold
    doubtful[:, 0] = False
    found = targets.agreeing(label, threshold=threshold, class_count=CLASSES)
    assert (found.outside.numpy() == (targets.outside.numpy() | doubtful)).all()
    assert found.probabilities is targets.probabilities


@settings(max_examples=60, deadline=None)
@given(seed=seeds, named=st.booleans())
def test_positions_outside_can_be_taught_what_the_picture_is(seed: int, named: bool) -> None:
    rng, targets = drawn(seed)
    label = torch.from_numpy(rng.integers(CLASSES, size=3))
    found = targets.filled(label if named else None)
    before, after, outside = dense(targets, CLASSES), dense(found, CLASSES), targets.outside.numpy()
    picture = np.broadcast_to(one_hot(label) if named else before[:, :1], before.shape)
    assert after == pytest.approx(np.where(outside[..., None], picture, before))
    still = np.zeros_like(outside) if named else outside & outside[:, :1]
    assert (found.outside.numpy() == still).all()


def test_where_every_class_is_named_the_remainder_is_left_out() -> None:
    short = TokenTargets(torch.arange(4)[None, None], torch.tensor([[[0.4, 0.2, 0.2, 0.1]]]), torch.tensor([[False]]))
    assert not short.probability_of_unnamed(4).any()
    assert short.tempered(1.0, class_count=4).probabilities.sum(-1) == pytest.approx(1)


def test_what_is_done_to_a_batch_is_done_to_each_picture_alone() -> None:
    rng, targets = drawn(1)
    label = torch.from_numpy(rng.integers(CLASSES, size=3))

    def changed(some: TokenTargets, names: torch.Tensor) -> TokenTargets:
        some = some.tempered(2.0, class_count=CLASSES).smoothed(0.1, class_count=CLASSES).filled(names)
        return some.blend_labels(names, class_count=CLASSES, token_weight=0.5).agreeing(
            names, threshold=0.1, class_count=CLASSES
        )

    together = changed(targets, label)
    alone = TokenTargets.stack([changed(targets[n], label[n]) for n in range(3)])
    assert torch.equal(together.classes, alone.classes)
    assert torch.allclose(together.probabilities, alone.probabilities)
    assert torch.equal(together.outside, alone.outside)


def test_nothing_changes_the_targets_that_it_is_asked_of() -> None:
    rng, targets = drawn(2)
    before = [tensor.clone() for tensor in (targets.classes, targets.probabilities, targets.outside)]
    label = torch.from_numpy(rng.integers(CLASSES, size=3))
    targets.tempered(0.5, class_count=CLASSES)
    targets.smoothed(0.5, class_count=CLASSES)
    targets.blend_labels(label, class_count=CLASSES, image_weight=0.5, token_weight=0.5)
    targets.agreeing(label, threshold=0.5, class_count=CLASSES)
    targets.filled(label)
    targets.renormalised()
    for tensor, copy in zip((targets.classes, targets.probabilities, targets.outside), before, strict=True):
        assert torch.equal(tensor, copy)


def test_class_numbers_stay_whole_beyond_what_half_precision_can_count() -> None:
    targets = TokenTargets(
        torch.tensor([[[21_840, 2_049]]], dtype=torch.int32), torch.tensor([[[0.5, 0.25]]]), torch.tensor([[False]])
    )
    changed = targets.tempered(0.5, class_count=21_841).smoothed(0.1, class_count=21_841)
    changed = changed.blend_labels(torch.tensor([16_385]), class_count=21_841, image_weight=0.5)
    assert changed.classes.tolist() == [[[21_840, 2_049, 16_385]]]
    assert changed.classes.dtype == torch.int32
    assert dense(changed, 21_841).sum() == pytest.approx(1)


@pytest.mark.parametrize("class_count", [1_000, 21_841])
def test_a_batch_for_imagenet_is_at_most_six_megabytes(class_count: int) -> None:
    """Of 128 pictures with 196 tokens, where the published method makes dense targets of 100 MB for 1,000 classes."""
    label = random_labels(np.random.default_rng(0), 1, grid=(18, 18), k=5, class_count=class_count)
    targets = token_targets(label[[0] * 128], [View.whole()] * 128, (14, 14), keep=8)
    assert (targets.classes.dtype, targets.probabilities.dtype) == (torch.int32, torch.float32)
    assert targets.classes.shape == (128, 197, 8)
    assert targets.nbytes == 128 * 197 * (8 * (4 + 4) + 1)
    assert targets.nbytes <= 6e6


def test_what_does_not_fit_is_refused_with_what_was_found() -> None:
    _, targets = drawn(0)
    with pytest.raises(LabelError, match=r"not \[3, 5, 5\], \[3, 5, 5\] and \[3, 4\]"):
        TokenTargets(targets.classes, targets.probabilities, targets.outside[:, 1:])
    with pytest.raises(
        LabelError, match=r"targets of \[3\] pictures need one class number for each, int64, not .*int64 \[2\]"
    ):
        targets.blend_labels(torch.tensor([1, 2]), class_count=CLASSES)
    with pytest.raises(
        LabelError, match=r"numbers -1 to 3 were given, but class_count is 12; .* without a class \(-1\)"
    ):
        targets.agreeing(torch.tensor([1, -1, 3]), threshold=0.5, class_count=CLASSES)
    with pytest.raises(LabelError, match="class numbers 1 to 12 were given, but class_count is 12"):
        targets.probability_of(torch.tensor([1, 12, 3]), class_count=CLASSES)
    with pytest.raises(LabelError, match="a temperature must be above 0, not 0"):
        targets.tempered(0, class_count=CLASSES)
    with pytest.raises(LabelError, match=r"in \[0, 1\], not 1.1"):
        targets.smoothed(1.1, class_count=CLASSES)
    with pytest.raises(LabelError, match=r"weights must be in \[0, 1\], not 1.0 and -0.5"):
        targets.blend_labels(torch.tensor([1, 2, 3]), class_count=CLASSES, token_weight=-0.5)
