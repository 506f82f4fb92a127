"""How do the bytes of probabilities compress better? Rounded to multiples, which the same reader decodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.encoding import scores

_LARGEST = 90  # the largest code of a number below 1/2; the numbers that are written do not exceed it


def coarse_codes(codes: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Codes uint8 [..., k] whose numbers are the nearest multiples; their flags and their order stay.

    Rounding up could give a location more than 1, or the class whose part is derived less than the second has. There
    the smallest of the largest codes is reduced, until neither is so.

    Args:
        codes: of `scores.encode`.
        multiple: from 1, which changes nothing, to 64.

    Raises:
        ValueError: the multiple is not in this range.
    """
    if not 1 <= multiple <= 64:
        raise ValueError(f"codes can be rounded to multiples of 1 to 64, not of {multiple}")
    if multiple == 1:
        return codes
    flags = codes[..., :1] & scores.FLAG
    numbers = (codes % scores.FLAG).astype(np.int64)
    numbers = np.minimum(np.rint(numbers / multiple), _LARGEST // multiple).astype(np.int64) * multiple
    derived = flags[..., 0] == 0  # the first class has what the others and the remainder leave
    while (wrong := _too_much(numbers, derived)).any():
        at = np.nonzero(wrong)
        found = numbers[at]
        # The remainder is reduced only where there is no other class: it takes no place in the order.
        found = np.where((np.arange(found.shape[-1]) == 0) & derived[at][:, None] & (found.shape[-1] > 1), -1, found)
        last = found.shape[-1] - 1 - found[:, ::-1].argmax(-1)
        numbers[(*at, last)] -= multiple
    coarse: NDArray[np.uint8] = numbers.astype(np.uint8)
    coarse[..., :1] |= flags
    return coarse


def _too_much(numbers: NDArray[np.int64], derived: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the numbers of a location sum to more than 1, or leave the derived class less than the second has."""
    squares: NDArray[Any] = (numbers**2).astype(np.int64)  # exact, in units of 1 / STEPS^2
    left = scores.STEPS**2 - squares.sum(-1)
    second = squares[..., 1:].max(-1, initial=0)
    return np.where(derived, left < second, left < 0)
