"""How do several looks at one picture become one label? Each is laid onto the labels' grid by its own geometry."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from storage import Box


def onto_grid(
    probabilities: torch.Tensor, boxes: Sequence[Box], grid: tuple[int, int], grid_boxes: Sequence[Box]
) -> torch.Tensor:
    """Read the probabilities of a look where the labels' locations have their centres, bilinearly.

    Args:
        probabilities: [b, h', w', classes], of a look.
        boxes: the part of each picture that the look covers.
        grid: rows and columns of the labels.
        grid_boxes: the part of each picture that the labels cover.

    Returns:
        [b, h, w, classes]. Beyond the look's outermost centres, the nearest are taken.
    """
    if probabilities.shape[1:3] == grid and list(boxes) == list(grid_boxes):
        return probabilities
    (h, w), seen = grid, [look.locate(label) for look, label in zip(boxes, grid_boxes, strict=True)]
    axes = ((_centres(box.left, box.width, w), _centres(box.top, box.height, h)) for box in seen)
    places = torch.stack([torch.stack(torch.meshgrid(*axis, indexing="xy"), -1) for axis in axes])
    read = torch.nn.functional.grid_sample(
        probabilities.permute(0, 3, 1, 2),
        places.to(probabilities),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return read.permute(0, 2, 3, 1)


def _centres(start: float, length: float, count: int) -> torch.Tensor:
    """The centres of so many cells along an axis of the look, whose coordinates run from -1 to 1: float64 [count]."""
    return 2 * (start + (torch.arange(count, dtype=torch.float64) + 0.5) / count * length) - 1


def scaled_size(size: tuple[int, int], steps: tuple[float, float], scale: float) -> tuple[int, int]:
    """The input size that is nearest to so many times this one, in whole steps of a location; at least one of them.

    Args:
        size: of the network's input, pixels.
        steps: from location to location, down and across, pixels.
        scale: by which to multiply.
    """
    if scale == 1:
        return size
    height, width = (max(1, round(scale * length / step)) * step for length, step in zip(size, steps, strict=True))
    return round(height), round(width)
