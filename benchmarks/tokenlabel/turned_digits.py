"""Which pictures does the benchmark of retrieval search? Digits, upright or turned, in any place, size, ink and noise.

Each is one of scikit-learn's scans, drawn anew for every picture. A class is a digit and a number of quarter turns, so
that five digits make 20 classes. Some of these can hardly be told apart, such as 0 and 8 upright and upside down.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import affine_grid, grid_sample

SIZE, TURNS = 12, 4  # height and width, pixels; classes of a digit
_NOISE = 0.1
_MARGINS = 1.1, 1.3  # of the picture to the digit's square


def pictures(classes: torch.Tensor, digits: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """One picture of each class: float32 [n, 1, 12, 12].

    Args:
        classes: int64 [n]; class 4·a + b is the a-th of the digits, after b quarter turns.
        digits: which digits, 0 to 9.
        generator: draws all that is random.
    """
    scans, first, counts = _all_scans()
    digit = torch.as_tensor(digits)[classes // TURNS]
    drawn = first[digit] + (torch.rand(len(classes), generator=generator) * counts[digit]).long()
    ink = _placed(scans[classes % TURNS, drawn], generator)
    shape = (len(classes), 1, 1, 1)
    background = -torch.rand(shape, generator=generator)
    contrast = 0.8 + 0.8 * torch.rand(shape, generator=generator)
    return background + contrast * ink + _NOISE * torch.randn(ink.shape, generator=generator)


@cache
def _all_scans() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scans [4, 1797, 1, 8, 8] in [0, 1], in the order of their digits; the first of each digit, and how many."""
    found = load_digits()
    order = np.argsort(found.target, kind="stable")
    upright = torch.from_numpy(found.images[order]).float()[:, None] / 16
    counts = torch.from_numpy(np.bincount(found.target))
    turned = torch.stack([upright.rot90(turns, (2, 3)) for turns in range(TURNS)])
    return turned, counts.cumsum(0) - counts, counts


def _placed(scans: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each scan somewhere in a picture, 9 to 11 pixels high and wide."""
    n = len(scans)
    margins = _MARGINS[0] + (_MARGINS[1] - _MARGINS[0]) * torch.rand(n, generator=generator)
    middle = (2 * torch.rand(n, 2, generator=generator) - 1) * (1 - 1 / margins)[:, None]
    matrix = torch.zeros(n, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = margins
    matrix[:, :, 2] = -margins[:, None] * middle
    grid = affine_grid(matrix, [n, 1, SIZE, SIZE], align_corners=False)
    return grid_sample(scans, grid, align_corners=False)
