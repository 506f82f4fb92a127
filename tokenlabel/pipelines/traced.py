"""How are pixels of a timm or torchvision pipeline traced to their source? `Traced` runs it and watches each step.

traced = Traced(timm.data.create_transform(224, is_training=True, auto_augment="rand-m9-mstd0.5-mmax9-inc1"))
traced = Traced([v2.RandomResizedCrop(224), v2.RandAugment(), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
pixels, warp = traced(picture)                       # or as an augmentation: LabeledImages(…, augment=traced)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification

from tokenlabel.errors import LabelError
from tokenlabel.geometry.warp import Warp
from tokenlabel.pipelines.crops import seeded
from tokenlabel.pipelines.own_step import refuse_batches
from tokenlabel.pipelines.policies import steps_of
from tokenlabel.pipelines.traced_v1 import V1Pipeline, is_v1
from tokenlabel.pipelines.traced_v2 import V2Pipeline
from tokenlabel.pipelines.watched_step import Step, described


class Traced:
    """A pipeline of timm's or torchvision's, v1 or v2, that also says where each point of its result comes from.

    Calling it with a PIL picture gives (pixels, warp): bit for bit the tensor [channels, H, W] that the pipeline itself
    would have given with the same state of the generators of `random`, numpy and torch, and the `Warp` from it to the
    picture. What was erased or padded, even with a reflection of the picture, counts as showing nothing of it.

    The types of the steps decide how it is traced:

    - **timm, torchvision v1**: each step is watched, and must be of a known type or move pixels by PIL's own
      methods. Give all settings to `timm.data.create_transform`, random erasing (`re_prob`) too, and none of them
      to `timm.data.create_loader`. That sets `dataset.transform` to a pipeline of its own, which is not traced, and
      with its prefetcher it erases on the device, after the targets were made. So `create_transform(…, re_prob=0.25)`
      goes with `create_loader(…, re_prob=0, use_prefetcher=False)`. With the prefetcher, `create_transform(…,
      use_prefetcher=True)` gives the uint8 that it expects, and `collate_fn=tokenlabel.collate_pairs` its pairs.
    - **torchvision v2**: the usual crops, flips and colours are given the picture alone, and other steps as
      `LabeledCompose` takes them, with this package's policies in place of torchvision's, which draw the same random
      numbers. A step of your own, or of `Lambda`, that takes the picture alone must move pixels by
      PIL's own methods; one that takes (picture, label) must not move pixels, and only a change of size is noticed.

    Args:
        transform: what `create_transform` gives, `separate=True` included; a `Compose` of torchvision's, v1 or v2; the
            list of its steps; or what comes with torchvision's weights (`weights.transforms()`).
        still: step objects that, as you know, move and hide no pixel: for example your own change of colour.

    Raises:
        LabelError: steps of v1 and v2 in one pipeline; a step that cannot be traced: at construction where its type
            shows it, otherwise on the first picture whose trace is lost.
    """

    def __init__(self, transform: Step | Sequence[Callable[..., Any]], *, still: Sequence[Step] = ()) -> None:
        steps = _steps(transform)
        refuse_batches(steps, still)
        self._names = [getattr(step, "__name__", type(step).__name__) for step in steps]
        of_v2, of_v1 = _first(steps, _is_v2), _first(steps, is_v1)
        if of_v2 is not None and of_v1 is not None:
            raise LabelError(
                f"a pipeline with {of_v2}, of torchvision.transforms.v2, and {of_v1}, of timm or torchvision's v1, "
                "cannot be traced: v2 moves labels with pictures, and v1 does not. Take all steps from one of the two"
            )
        self._pipeline: V1Pipeline | V2Pipeline
        self._pipeline = V1Pipeline(steps, still) if of_v2 is None else V2Pipeline(steps, still)

    def __call__(self, picture: Image.Image, rng: np.random.Generator | None = None) -> tuple[torch.Tensor, Warp]:
        """The training picture, and where it comes from.

        All randomness comes from the generator if one is given, as by `LabeledImages`.

        Raises:
            LabelError: not a PIL picture; the trace is lost; the pipeline does not end with a tensor.
        """
        if rng is not None:
            with seeded(rng):
                return self(picture)
        if not isinstance(picture, Image.Image):
            raise LabelError(f"a traced pipeline starts from a PIL picture, but was given {described(picture)}")
        pixels, warp = self._pipeline(picture)
        if not isinstance(pixels, torch.Tensor) or pixels.ndim != 3:
            raise LabelError(
                f"a traced pipeline must give a tensor [channels, H, W], but this one gave {described(pixels)}; "
                "end it with ToTensor, or in v2 with ToImage and ToDtype(torch.float32, scale=True)"
            )
        return pixels, warp

    def __repr__(self) -> str:
        return f"Traced({', '.join(self._names)})"


def _steps(transform: Any) -> list[Any]:
    """The steps of a pipeline: a list, a Compose and torch's Sequential do not reveal v1 or v2; only their steps do."""
    if type(transform) is ImageClassification:
        return [
            v1.Resize(transform.resize_size, transform.interpolation, antialias=transform.antialias),
            *(v1.CenterCrop(transform.crop_size), v1.PILToTensor(), v1.ConvertImageDtype(torch.float)),
            v1.Normalize(transform.mean, transform.std),
        ]
    if type(transform) in (v1.Compose, v2.Compose):
        return [*transform.transforms]
    return [*transform] if type(transform) is nn.Sequential or isinstance(transform, list | tuple) else [transform]


def _is_v2(step: object) -> bool:
    return isinstance(step, v2.Transform)


def _first(steps: Sequence[object], belongs: Callable[[object], bool]) -> str | None:
    """The name of the first step, or step of a step, that belongs; None if none does."""
    every = (inner for step in steps for inner in steps_of(step))
    return next((type(step).__name__ for step in every if belongs(step)), None)
