"""How is a pipeline of timm's or torchvision's v1 traced? It runs as it is, and each of its steps is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

from tokenlabel.errors import LabelError
from tokenlabel.geometry.warp import Warp
from tokenlabel.pipelines.watched_step import (
    MIXES_VERSIONS,
    Shown,
    Step,
    WatchedStep,
    run_bent,
    run_erased,
    run_padded,
    run_policy,
    run_recorded,
    run_still,
)


class V1Pipeline:
    """A pipeline of timm's or torchvision's v1, watched; see `Traced`."""

    def __init__(self, transform: Any, still: Sequence[Step]) -> None:
        self._run = _watched(transform, still)

    def __call__(self, picture: Image.Image) -> tuple[Any, Warp]:
        """What the pipeline makes of a picture, and where each of its points comes from."""
        shown = self._run(Shown(picture, Warp()))
        return shown.pixels, shown.warp


def is_v1(step: object) -> bool:
    """Whether a step is of timm's or torchvision's v1, by the module that its class or one of its bases is from."""
    if isinstance(step, torch.nn.Sequential):
        return True
    modules = {kind.__module__ for kind in type(step).__mro__}
    return _is_timms(step) or not modules.isdisjoint(_MODULES)


_MODULES = {"torchvision.transforms.transforms", "torchvision.transforms.autoaugment"}


def _is_timms(step: object) -> bool:
    return any(kind.__module__.partition(".")[0] == "timm" for kind in type(step).__mro__)


# Steps of exactly these types are known to move no pixel, or to pad; a subclass may do something else.
_STILL = {
    *(transforms.ColorJitter, transforms.GaussianBlur, transforms.Grayscale, transforms.RandomGrayscale),
    *(transforms.RandomAdjustSharpness, transforms.RandomAutocontrast, transforms.RandomEqualize),
    *(transforms.RandomInvert, transforms.RandomPosterize, transforms.RandomSolarize),
    *(transforms.ConvertImageDtype, transforms.Normalize, transforms.PILToTensor, transforms.ToPILImage),
    transforms.ToTensor,
}
_RUNS: dict[type, Callable[[Any, Shown], Shown]] = {
    **dict.fromkeys(_STILL, run_still),
    **dict.fromkeys((transforms.CenterCrop, transforms.Pad, transforms.RandomCrop), run_padded),
    **dict.fromkeys((transforms.AutoAugment, transforms.RandAugment, transforms.TrivialAugmentWide), run_policy),
    transforms.ElasticTransform: run_bent,
    transforms.RandomErasing: run_erased,
}
_REFUSED: dict[type, str] = {
    transforms.AugMix: MIXES_VERSIONS,
    **dict.fromkeys(
        (transforms.FiveCrop, transforms.TenCrop), "it makes several pictures of one; use a transform that gives one"
    ),
    transforms.LinearTransformation: "each of its pixels comes from all others; leave it out",
}


def _watched(step: Any, still: Sequence[Step]) -> Any:
    """The same pipeline over `Shown` instead of pictures, drawing the same random numbers in the same order."""

    def each(steps: Iterable[Any]) -> list[Any]:
        return [_watched(inner, still) for inner in steps]

    kind = type(step)
    if any(step is known for known in still):
        return WatchedStep(step, run_still)
    if kind in (list, tuple, torch.nn.Sequential):
        return transforms.Compose(each(step))
    if kind in (transforms.Compose, transforms.RandomOrder):
        return kind(each(step.transforms))
    if kind in (transforms.RandomApply, transforms.RandomChoice):
        return kind(each(step.transforms), p=step.p)
    refused = _REFUSED
    if _is_timms(step):
        from tokenlabel.pipelines import timm_steps  # here, because torchvision's pipelines need no timm

        if (known := timm_steps.watched(step, each)) is not None:
            return known
        refused = refused | timm_steps.REFUSED
    for which, reason in refused.items():
        if isinstance(step, which):
            raise LabelError(f"{kind.__name__} cannot be traced: {reason}")
    return WatchedStep(step, _RUNS.get(kind, run_recorded))
