"""How do probabilities become bytes and come back? One byte each, in the square-root domain.

A location has the probabilities p_1 >= ... >= p_k of its k best classes and the remainder r = 1 - sum(p). They sum to
1, so one of the k + 1 numbers need not be written. It must be a large one: a small number that is derived as the
difference of large ones keeps nothing but their rounding errors. So the larger of p_1 and r is derived:

    byte 0      bit 7      1: it holds p_1, and r is derived;  0: it holds r, and p_1 is derived
                bits 0-6   round(127 * sqrt(the smaller of p_1 and r))
    byte i > 0             round(127 * sqrt(p_{i+1}))

Equal steps of sqrt(p) are equal steps of the Hellinger distance, so that small and large probabilities are kept equally
well; with 127 steps the Kullback-Leibler divergence stays below 1e-4 nats on average (tests/storage/test_scores.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 127
FLAG = 128

_VALUE = ((np.arange(256) % FLAG) / STEPS).astype(np.float32) ** 2


def encode(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Code probabilities [..., k], best first, each in [0, 1] with a sum of at most 1, as uint8 [..., k]."""
    first = probabilities[..., 0]
    remainder = np.clip(1 - probabilities.sum(-1), 0, 1)
    remainder_is_larger = remainder > first
    written = np.array(probabilities, np.float32)
    written[..., 0] = np.where(remainder_is_larger, first, remainder)
    codes = np.rint(np.sqrt(written) * STEPS).astype(np.uint8)
    codes[..., 0] += FLAG * remainder_is_larger.astype(np.uint8)
    return codes


def decode(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probabilities float32 [..., k] of the codes [..., k]: in [0, 1], with a sum of at most 1 but for rounding."""
    probabilities = _VALUE[codes]
    tail = probabilities[..., 1:].sum(-1)
    first = probabilities[..., 0]
    probabilities[..., 0] = np.where(codes[..., 0] >= FLAG, first, np.clip(1 - first - tail, 0, 1))
    mass = probabilities.sum(-1, keepdims=True)
    if mass.max(initial=0) > 1:  # the rounding of many small ones can add up
        probabilities /= np.maximum(mass, 1)
    return probabilities
