"""Is a LabelMap valid by construction?"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from storage import Box, LabelMap, Status
from tests.labels import random_labels

LABELS = random_labels(np.random.default_rng(0), 3)


def changed(**values: Any) -> LabelMap:
    return LabelMap(**{field.name: values.get(field.name, getattr(LABELS, field.name)) for field in fields(LABELS)})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scores": LABELS.scores * 2}, "probabilities that sum to at most 1"),
        ({"scores": -LABELS.scores}, "probabilities that sum to at most 1"),
        ({"scores": LABELS.scores * np.float32(np.nan)}, "probabilities that sum to at most 1"),
        ({"scores": LABELS.scores[..., :2]}, r"scores must have the shape \(3, 6, 5, 3\)"),
        ({"boxes": LABELS.boxes[:2]}, r"boxes must have the shape \(3, 4\)"),
        ({"classes": LABELS.classes.astype(np.float16)}, "classes must be uint16 or uint32, not float16"),
        ({"status": np.full(3, Status.MISSING, np.uint8)}, "must hold no class and no score"),
        ({"boxes": LABELS.boxes * np.float32(np.nan)}, "labelled rows must have a box"),
    ],
)
def test_what_is_not_a_label_map_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        changed(**values)


def test_index_and_stack_undo_each_other() -> None:
    again = LabelMap.stack([LABELS[n] for n in range(len(LABELS))])
    assert all(
        (getattr(again, field.name) == getattr(LABELS, field.name)).all()
        for field in fields(LABELS)
        if field.name != "kind"
    )


def test_a_single_label_has_a_box_and_a_batch_has_none() -> None:
    assert LABELS[0].box == Box.whole()
    with pytest.raises(TypeError, match="index it first"):
        _ = LABELS.box


def test_scores_and_remainder_sum_to_one() -> None:
    assert LABELS.scores.sum(-1) + LABELS.remainder == pytest.approx(1)
