"""How far may a mean be from the truth? By 95 % intervals: Student's for a mean, Wilson's for a fraction."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_FEW = (12.71, 4.303, 3.182, 2.776, 2.571)  # Student's t at 0.975; from 6 on by [Abramowitz and Stegun, 26.7.5]
_NORMAL = 1.96


def reach(values: NDArray[np.float64]) -> float:
    """Half of the 95 % interval of the mean of two values or more, [n], or of their differences from it."""
    free = len(values) - 1
    quantile = _FEW[free - 1] if free <= len(_FEW) else _NORMAL + 2.373 / free + 2.823 / free**2
    return quantile * float(values.std(ddof=1)) / math.sqrt(len(values))


def of_fraction(fraction: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a fraction of `count` things [Wilson 1927]; it has a width also where all or none are."""
    square = _NORMAL**2 / count
    middle = (fraction + square / 2) / (1 + square)
    half = math.sqrt(fraction * (1 - fraction) * square + square**2 / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
