"""What do sparse targets stand for? The same, written out over all classes, one entry at a time."""

from __future__ import annotations

import numpy as np
import torch

from tokenlabel import TokenTargets

# A remainder below it is rounding.
ROUNDING = 1e-6


def dense(targets: TokenTargets, class_count: int) -> np.ndarray:
    """The distributions float64 [b, 1 + t, C]: the remainder spread evenly over the classes that are not named."""
    out = np.zeros((*targets.outside.shape, class_count))
    named = np.zeros(out.shape, bool)
    for n, place, rank in np.ndindex(*targets.classes.shape):
        probability, name = targets.probabilities[n, place, rank].item(), int(targets.classes[n, place, rank])
        if probability > 0:
            out[n, place, name] += probability
            named[n, place, name] = True
    rest = 1 - out.sum(-1)
    for n, place in np.ndindex(*rest.shape):
        others = (~named[n, place]).sum()
        if others and rest[n, place] > ROUNDING:
            out[n, place, ~named[n, place]] = rest[n, place] / others
    return out


def random_targets(
    rng: np.random.Generator, b: int = 3, t: int = 4, *, m: int = 5, class_count: int = 12
) -> TokenTargets:
    """Targets: full and empty positions, with and without a remainder, classes named twice, some outside."""
    shape = (b, 1 + t, m)
    probabilities = rng.dirichlet(np.full(m, 0.5), shape[:2]) * rng.choice([0.1, 0.6, 1.0], (*shape[:2], 1))
    probabilities *= rng.random(shape) < 0.8
    return TokenTargets(
        torch.from_numpy(rng.integers(class_count, size=shape).astype(np.int32)),
        torch.from_numpy(probabilities.astype(np.float32)),
        torch.from_numpy(rng.random(shape[:2]) < 0.2),
    )
