"""Which torchvision transforms move a picture without its label? The policies. Ours move the label too.

torchvision's RandAugment and the other policies move only the picture, and silently leave the rest of the sample alone.
LabeledCompose checks a pipeline for such steps.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten
from torchvision import transforms as v1
from torchvision.transforms import v2

from tokenlabel.errors import LabelError
from tokenlabel.pipelines.label_tensor import LabelTensor, picture_of
from tokenlabel.pipelines.watched_step import COLOUR_OPERATIONS

# The operations done to the picture in this call, in this thread.
_done: ContextVar[list[tuple[Any, ...]]] = ContextVar("_done")


class _CarriesLabels:
    """A policy that does to each LabelTensor of the sample what it does to the picture."""

    def forward(self, *inputs: Any) -> Any:
        """Move the picture, and do the same to its LabelTensors."""
        token = _done.set([])
        try:
            moved = super().forward(*inputs)  # type: ignore[misc]
            done = [each for each in _done.get() if each[0] not in COLOUR_OPERATIONS]
        finally:
            _done.reset(token)
        return tree_map_only(LabelTensor, lambda label: self._again(label, done), moved) if done else moved

    def _apply_image_or_video_transform(
        self, image: Any, transform_id: str, magnitude: float, interpolation: Any, fill: Any
    ) -> Any:
        _done.get().append((transform_id, magnitude, interpolation, fill))
        return super()._apply_image_or_video_transform(image, transform_id, magnitude, interpolation, fill)  # type: ignore[misc]

    def _again(self, label: LabelTensor, done: list[tuple[Any, ...]]) -> LabelTensor:
        for how in done:
            label = super()._apply_image_or_video_transform(label, *how)  # type: ignore[misc]
        return label


class RandAugment(_CarriesLabels, v2.RandAugment):  # type: ignore[misc]
    """torchvision's RandAugment (arXiv 1909.13719), with the same arguments; it moves LabelTensors too."""


class TrivialAugmentWide(_CarriesLabels, v2.TrivialAugmentWide):  # type: ignore[misc]
    """torchvision's TrivialAugmentWide (arXiv 2103.10158), with the same arguments; it moves LabelTensors too."""


class AutoAugment(_CarriesLabels, v2.AutoAugment):  # type: ignore[misc]
    """torchvision's AutoAugment (arXiv 1805.09501), with the same arguments; it moves LabelTensors too."""


_LEFT_BEHIND: dict[type, str] = {
    v2.RandAugment: "moves the picture and not its label; use tokenlabel.RandAugment",
    v2.TrivialAugmentWide: "moves the picture and not its label; use tokenlabel.TrivialAugmentWide",
    v2.AutoAugment: "moves the picture and not its label; use tokenlabel.AutoAugment",
    v2.AugMix: "blends copies of the picture that were moved differently, so that one pixel shows several of its "
    "points; use tokenlabel.RandAugment or tokenlabel.TrivialAugmentWide",
    v2.FiveCrop: "makes five pictures of one, but a LabelTensor belongs to one; use CenterCrop or RandomCrop",
    v2.TenCrop: "makes ten pictures of one, but a LabelTensor belongs to one; use CenterCrop or RandomCrop",
    v2.LinearTransformation: "mixes all pixels of the picture, so that no pixel shows one point; leave it out",
    v2.MixUp: "mixes the pictures of a batch, and this is a pipeline of one; use tokenlabel.Mixer on batches",
    v2.CutMix: "mixes the pictures of a batch, and this is a pipeline of one; use tokenlabel.Mixer on batches",
}


_CONTAINERS = (
    *(v1.Compose, v1.RandomApply, v1.RandomChoice, v1.RandomOrder),
    *(v2.Compose, v2.RandomApply, v2.RandomChoice, v2.RandomOrder),
)


class LabeledCompose(v2.Compose):  # type: ignore[misc]
    """torchvision's Compose for samples with LabelTensors: no transform in it silently leaves a label behind.

    It takes a picture and the `LabelTensor(label, picture)` that was made for this picture object, so that it notices
    if another step has moved the picture before. Before the first transform and after each, both must have one size.

    Args:
        transforms: the steps: torchvision's, this package's, and your own if they move no pixel or have a
            kernel for LabelTensor.

    Raises:
        LabelError: a step, or a step of a step, that would leave a label behind; of a sample: a LabelTensor that was
            made for another picture, or has another size than its picture.
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        super().__init__(transforms)
        for step in steps_of(self):
            for kind, reason in _LEFT_BEHIND.items():
                if isinstance(step, kind) and not isinstance(step, _CarriesLabels):
                    raise LabelError(f"{type(step).__name__} cannot be in a pipeline with labels: it {reason}")

    def forward(self, *inputs: Any) -> Any:
        """The sample after all steps."""
        one = len(inputs) == 1
        _refuse_other_picture(inputs)
        inputs = _watched(inputs, when="before the first transform")
        for number, step in enumerate(self.transforms, 1):
            outputs = step(*inputs)
            inputs = _watched((outputs,) if one else outputs, when=f"after transform {number}, {type(step).__name__}")
        left = tree_map_only(LabelTensor, lambda label: label.beside(None), inputs)
        return left[0] if one else left


def _refuse_other_picture(sample: Any) -> None:
    leaves, _ = tree_flatten(sample)
    picture = picture_of(leaves, when="before the first transform")
    for label in leaves:
        if isinstance(label, LabelTensor) and not (label.watched or picture is label.picture):
            raise LabelError(
                "a LabelTensor must be made for the picture beside it, LabelTensor(label, picture), the first of the "
                "sample, "
                f"but this one {'was made for another' if label.picture is not None else 'names none'}: a step before "
                "this LabeledCompose may have moved the picture without its label. Put all steps into the "
                "LabeledCompose"
            )


def _watched(sample: Any, *, when: str) -> Any:
    if all(isinstance(part, Image.Image | torch.Tensor) for part in sample):  # flat: torch's trees are slow
        picture = picture_of(sample, when=when)
        return tuple(part.beside(picture) if isinstance(part, LabelTensor) else part for part in sample)
    leaves, structure = tree_flatten(sample)
    picture = picture_of(leaves, when=when)
    beside = [leaf.beside(picture) if isinstance(leaf, LabelTensor) else leaf for leaf in leaves]
    return sample if all(map(operator.is_, beside, leaves)) else tree_unflatten(beside, structure)


def steps_of(transform: object) -> Iterator[object]:
    """A transform, or a list of them, and all transforms inside it."""
    yield transform
    inner = contained(transform)
    if not inner and isinstance(transform, nn.Module):
        inner = [*transform.children()]
    for each in inner:
        yield from steps_of(each)


def contained(transform: object) -> Sequence[Any]:
    """The steps of a list, or of a container of torch's or torchvision's; none for any other transform."""
    if isinstance(transform, _CONTAINERS):
        return list(transform.transforms)
    return [*transform] if isinstance(transform, list | tuple | nn.Sequential) else ()
