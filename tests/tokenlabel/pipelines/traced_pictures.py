"""Which point does each pixel show, and which does a warp name? Pictures of coordinates, and pipelines for them."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment, create_transform
from torchvision import transforms as v1

from tests.tokenlabel.coordinates import eroded, pil_coordinates
from tokenlabel.geometry.warp import Warp

SIZES = [(96, 128), (128, 96), (112, 112)]
CELLS = 18  # of the label grid, along each axis
TALL = (64, 48)


SOURCES = [pil_coordinates(*size) for size in SIZES]


def seeded(seed: int, transform: Callable[[Image.Image], Any], picture: Image.Image) -> Any:
    """What the transform makes of the picture after all generators were seeded."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return transform(picture)


@functools.cache
def centres(height: int, width: int) -> np.ndarray:
    """The centres [H * W, 2] of all pixels."""
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)


def seen(warp: Warp, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The point [H, W, 2] in the source of each pixel, and whether it is inside the source [H, W]."""
    places, inside = warp.trace_back(centres(*size))
    return places.reshape(*size, 2), inside.reshape(size)


def errors(pixels: torch.Tensor, warp: Warp) -> np.ndarray:
    """By how many cells the points that pixels [3, H, W], in [0, 1], show differ from those that the warp names.

    Where it says that they show nothing, they must show the filling.
    """
    colours = pixels.numpy().transpose(1, 2, 0)
    places, inside = seen(warp, colours.shape[:2])
    # In the source's outermost pixels, what interpolates mixes the filling in.
    far = eroded(inside, 2) & (np.abs(places - 0.5) < 0.48).all(-1)
    assert colours[far][:, 2].min(initial=1) > 0.9
    assert colours[eroded(~inside, 2)][:, 2].max(initial=0) < 0.7
    return CELLS * np.abs(colours[far][:, :2] - places[far])


def assert_true(all_errors: list[np.ndarray]) -> None:
    """Check that warps are exact: within a twentieth of a cell in the mean, and half a cell anywhere."""
    found = np.concatenate(all_errors)
    assert len(found) > 1000
    assert found.mean() < 0.05
    assert found.max() < 0.5


def plain(size: tuple[int, int] = TALL, **settings: Any) -> v1.Compose:
    """A timm pipeline for pixels in [0, 1] that leaves the colours alone."""
    return create_transform(size, mean=(0, 0, 0), std=(1, 1, 1), **{"color_jitter": None, **settings})


def trained(**settings: Any) -> v1.Compose:
    return plain(**{"is_training": True, "interpolation": "random", **settings})


def augmented(policy: str, **settings: Any) -> v1.Compose:
    # The filling is grey, whatever the mean.
    transform = trained(auto_augment=policy, **settings)
    for op in ops(transform):
        op.kwargs["fillcolor"] = (128, 128, 128)
        if op.aug_fn is auto_augment.posterize:
            op.level_fn = at_least_a_bit  # in timm it may be none, which Pillow refuses
    return transform


def ops(transform: v1.Compose) -> list[auto_augment.AugmentOp]:
    """The operations of the policies in a pipeline."""
    found = []
    for step in transform.transforms:
        if isinstance(step, auto_augment.RandAugment):
            found += step.ops
        if isinstance(step, auto_augment.AutoAugment):
            found += [op for several in step.policy for op in several]
    return found


def at_least_a_bit(level: float, settings: dict[str, Any]) -> tuple[int]:
    return (8 - int(level) // 2,)


MOVING = {auto_augment.NAME_TO_OP[name] for name in ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")} | {
    auto_augment.NAME_TO_OP[name] for name in ("TranslateXRel", "TranslateYRel")
}


def unchanged(picture: Image.Image, *settings: Any, **named: Any) -> Image.Image:
    return picture


def blurred_once(picture: Image.Image, *settings: Any, **named: Any) -> Image.Image:
    random.uniform(0, 1)  # as the operation that it stands for
    return picture


def colourless(transform: v1.Compose) -> v1.Compose:
    """The same pipeline, drawing the same random numbers, without its policy's changes of colour."""
    twin = copy.deepcopy(transform)
    for op in ops(twin):
        if op.aug_fn not in MOVING:
            op.aug_fn = blurred_once if op.aug_fn is auto_augment.gaussian_blur_rand else unchanged
    return twin


def then_tensor(*steps: Any) -> v1.Compose:
    return v1.Compose([*steps, v1.ToTensor()])
