"""Is what is left spread as training spreads it, and is KL the usual one?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from annotate.fidelity.distribution import answer_in, divergence
from storage import Box
from tests.labels import random_labels
from tokenlabel import View, token_targets

CLASSES = 40
LABELS = random_labels(np.random.default_rng(3), 20, grid=(6, 5), k=3, class_count=CLASSES)
CROP = Box(0.1, 0.3, 0.62, 0.9)


@pytest.mark.parametrize("keep", [None, 3, 8])
def test_it_is_the_target_that_training_has_for_the_picture_as_a_whole(keep: int | None) -> None:
    trained = token_targets(LABELS, [View(CROP)] * 20, (2, 2), keep=keep or CLASSES).dense(CLASSES)[:, 0].numpy()
    for n in range(20):
        assert answer_in(LABELS[n], CROP, CLASSES, keep=keep) == pytest.approx(trained[n], abs=2e-5)


def test_no_class_has_0_where_one_is_not_named_and_all_add_up_to_1() -> None:
    scores = np.ones_like(LABELS.scores[0]) / 3
    label = type(LABELS)(LABELS.classes[0], scores, LABELS.boxes[0], LABELS.sizes[0], LABELS.status[0])
    found = answer_in(label, Box(0, 0, 0.1, 0.1), CLASSES)
    assert found is not None
    assert 0 < found.min() < 1e-6
    assert found.sum() == pytest.approx(1)


def test_kl_is_that_of_scipy_and_0_only_for_equal_answers() -> None:
    one, other = (answer_in(LABELS[n], CROP, CLASSES) for n in (0, 1))
    assert divergence(one, other) == pytest.approx(entropy(one, other))
    assert divergence(one, other) > 0.1
    assert divergence(one, one) == 0
