"""How far are decoded probabilities from the original ones? Their Kullback-Leibler divergence, in nats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# A class that rounds to nothing has no probability; its divergence would be infinite, however small it was.
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The divergence over all locations of all maps, nats: its mean, its 99th percentile and its maximum."""

    mean: float
    percentile_99: float
    maximum: float

    @classmethod
    def of(cls, original: NDArray[np.floating[Any]], decoded: NDArray[np.floating[Any]]) -> Self:
        """Compare probabilities [..., k]."""
        found = divergence(original, decoded)
        return cls(float(found.mean()), float(np.percentile(found, 99)), float(found.max()))

    def cells(self) -> list[str]:
        """The three as they are shown."""
        return [f"{value:.1e}" if value else "0" for value in (self.mean, self.percentile_99, self.maximum)]


def divergence(original: NDArray[np.floating[Any]], decoded: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """At each location, the sum of p ln(p / q) over its k classes and the remainder: [..., k] to [...].

    p is original and q decoded, but at least 1e-12.
    """
    p, q = _with_remainder(original), np.maximum(_with_remainder(decoded), _FLOOR)
    return (p * np.log(np.where(p > 0, p, 1) / q)).sum(-1)


def _with_remainder(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    exact = probabilities.astype(np.float64)
    return np.concatenate([exact, np.clip(1 - exact.sum(-1, keepdims=True), 0, 1)], -1)
