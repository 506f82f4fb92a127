"""Do a label's weights follow the class of the whole picture?"""

from __future__ import annotations

import torch

from tokenlabel import TokenTargets
from tokenlabel.retrieval import label_weights


def test_weights_are_the_probability_of_one_class_for_token_and_picture() -> None:
    classes = torch.tensor([[[1, 2], [2, 1], [1, 3], [3, 4]]])
    probabilities = torch.tensor([[[0.6, 0.3], [0.5, 0.5], [0.9, 0.1], [0.8, 0.1]]])
    weights = label_weights(TokenTargets(classes, probabilities, torch.zeros(1, 4, dtype=torch.bool)))
    expected = torch.tensor([0.3 * 0.5 + 0.6 * 0.5, 0.6 * 0.9, 0.0])
    assert torch.allclose(weights[0], expected / expected.sum())


def test_tokens_outside_weigh_nothing_and_where_none_agrees_all_weigh_the_same() -> None:
    classes = torch.tensor([[[1], [1], [1]], [[1], [2], [3]]])
    outside = torch.tensor([[False, True, False], [False, False, False]])
    weights = label_weights(TokenTargets(classes, torch.ones(2, 3, 1), outside))
    assert weights.tolist() == [[0.0, 1.0], [0.5, 0.5]]
