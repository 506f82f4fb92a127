"""Which of timm's steps move pixels, and how is each run? Imported only for pipelines with a step of timm's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from timm.data import auto_augment, random_erasing
from timm.data import transforms as timm_transforms
from timm.data.naflex_transforms import Patchify

from tokenlabel.errors import LabelError
from tokenlabel.pipelines.watched_step import (
    MIXES_VERSIONS,
    Shown,
    Step,
    WatchedStep,
    described,
    run_padded,
    run_still,
    with_holes,
)

Each = Callable[[Iterable[Any]], list[Any]]


def watched(step: Any, each: Each) -> Step | None:
    """A step of timm's over `Shown` instead of pictures; None for a step that is not known.

    Args:
        step: a step of a pipeline.
        each: does the same for all steps inside it.
    """
    kind, known = type(step), None
    if kind is auto_augment.AugmentOp and step.aug_fn in _STILL_OPS:
        known = WatchedStep(step, run_still)
    elif kind is auto_augment.RandAugment:
        known = auto_augment.RandAugment(each(step.ops), step.num_layers, choice_weights=step.choice_weights)
    elif kind is auto_augment.AutoAugment:
        known = auto_augment.AutoAugment([each(ops) for ops in step.policy])
    elif kind in RUNS:
        known = WatchedStep(step, RUNS[kind])
    return known


def _run_erased(step: Any, given: Shown) -> Shown:
    """Run timm's random erasing, which does not return where it erases, on a canvas that records where it paints."""
    if not isinstance(given.pixels, torch.Tensor):
        raise LabelError(f"{step!r} was given {described(given.pixels)}, but it erases tensors: put it after ToTensor")
    canvas = _Canvas(given.pixels)
    step(canvas)
    return Shown(canvas.pixels, with_holes(given, canvas.holes))


class _Canvas:
    """A tensor [channels, H, W], with only those members that timm's random erasing uses."""

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels, self.dtype, self.size = pixels, pixels.dtype, pixels.size
        self.holes: list[tuple[int, int, int, int]] = []

    def __setitem__(self, where: tuple[slice, slice, slice], paint: torch.Tensor) -> None:
        self.pixels[where] = paint
        _, rows, columns = where
        self.holes.append((rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start))


# Steps of exactly these types are known to move no pixel, or to pad; a subclass may do something else.
_STILL_OPS = {
    *(auto_augment.auto_contrast, auto_augment.brightness, auto_augment.color, auto_augment.contrast),
    *(auto_augment.desaturate, auto_augment.equalize, auto_augment.gaussian_blur, auto_augment.gaussian_blur_rand),
    *(auto_augment.invert, auto_augment.posterize, auto_augment.sharpness, auto_augment.solarize),
    auto_augment.solarize_add,
}
RUNS: dict[type, Callable[[Any, Shown], Shown]] = {
    timm_transforms.ToTensor: run_still,
    timm_transforms.MaybePILToTensor: run_still,
    timm_transforms.MaybeToTensor: run_still,
    timm_transforms.CenterCropOrPad: run_padded,
    timm_transforms.RandomCropOrPad: run_padded,
    timm_transforms.RandomPad: run_padded,
    random_erasing.RandomErasing: _run_erased,
}
REFUSED: dict[type, str] = {
    auto_augment.AugMixAugment: MIXES_VERSIONS,
    Patchify: "it gives patches, not a picture; apply it to the pixels that the traced pipeline gives",
}
