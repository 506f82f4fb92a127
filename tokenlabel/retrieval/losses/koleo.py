"""What spreads descriptors out? KoLeo, equation 5 of arXiv 2102.05644: each is pushed away from its nearest one.

    L = −1/n Σ_i log ρ_i        ρ_i = min_{j ≠ i} ‖z_i − z_j‖, over all others of the batch, positives too

It estimates the descriptors' entropy, but for constants. Its gradient is 1/ρ long: log √(ρ² + ε²) takes its place,
whose gradient is at most 1 / 2ε long, and 0 between two equal descriptors, which have no direction to part.
"""

from __future__ import annotations

import torch

from tokenlabel.errors import LabelError

_LEAST = 1e-4


def koleo_loss(descriptors: torch.Tensor, *, least: float = _LEAST) -> torch.Tensor:
    """KoLeo of a batch, computed in float32 or better whatever autocast says.

    Args:
        descriptors: float [n, d], of unit length.
        least: ε, the distance that equal descriptors count as.

    Raises:
        LabelError: there are fewer than two descriptors.
    """
    exact = torch.promote_types(descriptors.dtype, torch.float32)
    with torch.autocast(descriptors.device.type, enabled=False):
        z = descriptors.to(exact)
        _refuse_less_than_two(len(z))
        nearest = z[_nearest(z.detach(), z.detach(), 0)]
        return -_log_distance(z, nearest, least).mean()


@torch.no_grad()
def mean_log_distance(descriptors: torch.Tensor, *, rows: int = 1024, least: float = 1e-12) -> float:
    """The mean over all descriptors of the log of the distance to the nearest other: how far they are spread out.

    It is minus KoLeo of all descriptors at once, in float64, exact and in chunks.

    Args:
        descriptors: float [n, d].
        rows: how many are compared with all at once.
        least: the distance that equal descriptors count as.

    Raises:
        LabelError: there are fewer than two descriptors.
    """
    z = descriptors.double()
    _refuse_less_than_two(len(z))
    parts = [
        _log_distance(part, z[_nearest(part, z, start)], least)
        for start, part in zip(range(0, len(z), rows), z.split(rows), strict=True)
    ]
    return float(torch.cat(parts).mean())


def _nearest(part: torch.Tensor, z: torch.Tensor, start: int) -> torch.Tensor:
    """For rows of z from `start` on, the index of the nearest other row: the one with the largest z·w − |w|²/2."""
    closeness = part @ z.T - z.square().sum(1) / 2
    closeness.diagonal(start).fill_(-torch.inf)
    return closeness.argmax(1)


def _log_distance(ours: torch.Tensor, theirs: torch.Tensor, least: float) -> torch.Tensor:
    return ((ours - theirs).square().sum(1) + least**2).log() / 2


def _refuse_less_than_two(count: int) -> None:
    if count < 2:
        raise LabelError(
            f"KoLeo needs a nearest other picture, but was given {count} descriptor{'s' * (count != 1)}; give a batch "
            "of two or more"
        )
