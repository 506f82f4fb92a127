"""How do probabilities become bytes and come back? One byte each, in the square-root domain.

A location has the probabilities p_1 >= ... >= p_k of its k best classes and the remainder r = 1 - sum(p). They sum to
1, so one of the k + 1 numbers need not be written. It must be a large one: a small number that is derived as the
difference of large ones consists of their rounding errors. So the larger of p_1 and r is derived:

    byte 0      bit 7      1: it holds p_1, and r is derived;  0: it holds r, and p_1 is derived
                bits 0-6   round(128 * sqrt(the smaller of p_1 and r))
    byte i > 0             round(128 * sqrt(p_{i+1}))

None of the written numbers exceeds 1/2, so no code without its flag exceeds 91. Equal steps of sqrt(p) are equal steps
of the Hellinger distance, so that small and large probabilities are stored equally well: the Kullback-Leibler
divergence from what was coded stays below 1e-4 nats on average (`make bench`). (c / 128)^2 and the sums of such numbers
are exact in float32, so that every reader finds the same probabilities to the last bit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 128
FLAG = 128
LEAST_REMAINDER = (0.5 / STEPS) ** 2  # a smaller remainder is stored as 0
ENCODING = {  # what stores say of their scores
    "name": "sqrt128-flagged",
    "steps": STEPS,
    "flag": FLAG,
    "formula": "v = ((code mod 128) / 128)^2; ranks above 0: p = v; rank 0: p = v where code >= 128, "
    "else p = 1 - v - the sum of the ranks above 0, and v is the remainder",
}

_WRITTEN = ((np.arange(256) % FLAG / STEPS) ** 2).astype(np.float32)  # the number that each code stands for
# Arrays, not numbers: numpy would convert a number to an array at each call, which takes longer than the sum.
_ONE, _FLAG = np.array(1, np.float32), np.array(FLAG, np.uint8)


def encode(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Code probabilities [..., k], best first, each in [0, 1] with a sum of at most 1, as uint8 [..., k]."""
    first = probabilities[..., 0]
    remainder = np.clip(1 - probabilities.sum(-1), 0, 1)
    remainder_is_larger = remainder > first
    written = np.array(probabilities, np.float32)
    written[..., 0] = np.where(remainder_is_larger, first, remainder)
    codes = np.rint(np.sqrt(written) * STEPS).astype(np.uint8)
    # If many were rounded up, the derived part would be negative: reduce the largest.
    while (too_much := mass(codes) > 1).any():
        at = np.nonzero(too_much)
        codes[(*at, codes[at].argmax(-1))] -= 1
    codes[..., 0] += FLAG * remainder_is_larger.astype(np.uint8)
    return codes


def decode(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The probabilities float32 [..., k] of the codes [..., k]: in [0, 1], with a sum of at most 1."""
    # Training waits for this, so it makes few passes over small arrays, each with numpy's fastest call.
    values = _written(codes)
    k = codes.shape[-1]
    locations, flat = codes.reshape(-1, k), values.reshape(-1, k)
    remainder = flat.dot(_minus_ones(k))
    remainder += _ONE
    np.copyto(flat[:, 0], remainder, where=locations[:, 0] < _FLAG)
    return values


def mass(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The sum of the written numbers of each location: float32 [...], at most 1 for codes that `encode` returned."""
    total: NDArray[np.float32] = _written(codes).sum(-1)
    return total


def _written(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = _WRITTEN.take(codes, mode="wrap")  # every code is in the table: no need to check
    return values


@lru_cache
def _minus_ones(k: int) -> NDArray[np.float32]:
    return np.full(k, -1, np.float32)
