"""How far are two answers apart, of which each may name only some classes? By KL, after what is left is spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage import Box, LabelMap
from storage.alignment.region import region_scores
from storage.encoding.scores import LEAST_REMAINDER


def answer_in(label: LabelMap, region: Box, class_count: int, *, keep: int | None = None) -> NDArray[np.float64] | None:
    """The target of a rectangle of a picture, as training reads it from a label, over all classes: [C], sum 1.

    Of the classes that the label names anywhere in the rectangle, the `keep` most probable stay named; None keeps all.
    With n classes named and r what they leave out of 1, each of the other C − n classes has r / (C − n), as in
    `tokenlabel.TokenTargets`. A remainder below 1.5e-5, which one byte cannot tell from 0, counts as 1.5e-5, so that
    no class has 0 as long as one is not named. Where all are named, they are divided by their sum.

    Returns:
        float64 [C]; None where more than half of the rectangle lies beyond the label.
    """
    classes, scores, outside = region_scores(label, region)
    if outside.any():
        return None
    order = np.argsort(-scores[0, 0], kind="stable")[:keep]
    named = order[scores[0, 0, order] > 0]
    found = np.zeros(class_count)
    found[classes[named].astype(np.int64)] = scores[0, 0, named]
    if others := class_count - len(named):
        rest = max(LEAST_REMAINDER, 1 - float(found.sum()))
        found[found == 0] = rest / others
    spread: NDArray[np.float64] = found / found.sum()
    return spread


def divergence(answer: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """KL(answer ‖ target) in nats: what is lost if the target [C] stands for the answer [C]. Classes of 0 are left out.

    >>> round(divergence(np.array([1.0, 0.0]), np.array([0.5, 0.5])), 3)  # log 2
    0.693
    """
    known = answer > 0
    ratio = answer[known] / np.maximum(target[known], np.finfo(np.float64).tiny)
    return max(0.0, float((answer[known] * np.log(ratio)).sum()))
