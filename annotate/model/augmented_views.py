"""How do several passes over one picture become one label? Each is resampled onto the grid of the first.

With test-time augmentation a picture passes through a network mirrored, and at several sizes; see `Recipe.passes`.
Where a coarser grid is asked for, their mean is averaged by area.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from storage import Box


def onto_grid(
    probabilities: torch.Tensor, boxes: Sequence[Box], grid: tuple[int, int], grid_boxes: Sequence[Box]
) -> torch.Tensor:
    """Resample the probabilities of one pass, bilinearly, at the centres of the labels' locations.

    Args:
        probabilities: [b, h', w', classes], of one pass.
        boxes: the part of each picture that the grid of the pass covers.
        grid: rows and columns of the labels.
        grid_boxes: the part of each picture that the grid of the labels covers.

    Returns:
        [b, h, w, classes]. Beyond the outermost centres of the pass, the nearest value is repeated.
    """
    if probabilities.shape[1:3] == grid and list(boxes) == list(grid_boxes):
        return probabilities
    (h, w), inner = grid, [box.to_inner(label) for box, label in zip(boxes, grid_boxes, strict=True)]
    axes = ((_centres(box.left, box.width, w), _centres(box.top, box.height, h)) for box in inner)
    points = torch.stack([torch.stack(torch.meshgrid(*axis, indexing="xy"), -1) for axis in axes])
    sampled = torch.nn.functional.grid_sample(
        probabilities.permute(0, 3, 1, 2),
        points.to(probabilities),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return sampled.permute(0, 2, 3, 1)


def area_average(probabilities: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """The mean of a map over each location of a coarser grid of the same box, by area; they need not divide evenly.

    Args:
        probabilities: [b, h', w', classes].
        grid: rows h and columns w of the answer, at most h' and w'.

    Returns:
        [b, h, w, classes].
    """
    down, across = (
        _overlaps(n, each).to(probabilities) for n, each in zip(grid, probabilities.shape[1:3], strict=True)
    )
    return torch.einsum("iy,byxc,jx->bijc", down, probabilities, across)


def _overlaps(coarse: int, fine: int) -> torch.Tensor:
    """The fraction of each of `coarse` equal parts of an axis that lies in each of `fine`: float64 [coarse, fine]."""
    wide = torch.arange(coarse + 1, dtype=torch.float64)[:, None] / coarse
    narrow = torch.arange(fine + 1, dtype=torch.float64) / fine
    common = torch.minimum(wide[1:], narrow[1:]) - torch.maximum(wide[:-1], narrow[:-1])
    return common.clamp_min(0) * coarse


def _centres(start: float, length: float, count: int) -> torch.Tensor:
    """Centres of `count` locations on an axis of the pass, in grid_sample's coordinates: float64 [count], -1 to 1."""
    return 2 * (start + (torch.arange(count, dtype=torch.float64) + 0.5) / count * length) - 1


def scaled_size(size: tuple[int, int], steps: tuple[float, float], scale: float) -> tuple[int, int]:
    """The input size nearest to `scale` times this one that is a whole number of locations, at least one.

    Args:
        size: height and width of the network's own input, pixels.
        steps: distance between neighbouring locations, down and across, pixels.
        scale: the factor; 1 gives `size` itself.
    """
    if scale == 1:
        return size
    height, width = (max(1, round(scale * length / step)) * step for length, step in zip(size, steps, strict=True))
    return round(height), round(width)
