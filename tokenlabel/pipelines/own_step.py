"""How is a step of a v2 pipeline run, and how do we learn what it moves? Its type decides.

torchvision's v2 hands a whole sample to each step. Beside a label it would run each of its kernels a second time, and
`Lambda`, `ToPureTensor` and functions of one's own that take a picture know nothing of a label. So torchvision's usual
steps are given the picture alone; what else takes a sample gets a label beside the picture.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from storage import LabelMap, Status
from tokenlabel.errors import LabelError
from tokenlabel.geometry.pixel_warp import PixelWarp
from tokenlabel.pipelines.label_tensor import LabelTensor
from tokenlabel.pipelines.policies import AutoAugment, LabeledCompose, RandAugment, TrivialAugmentWide, contained
from tokenlabel.pipelines.watched_step import Shown, Step, WatchedStep, described, run_recorded, run_still

_ANY = LabelMap.unlabelled(Status.MISSING, grid=(1, 1), k=1, class_count=1)  # only its geometry is used

# This package's own policies draw and do the same, and move the label too.
_CARRYING: dict[type, type] = {
    v2.AutoAugment: AutoAugment,
    v2.RandAugment: RandAugment,
    v2.TrivialAugmentWide: TrivialAugmentWide,
}
_CONTAINERS = (v2.Compose, v2.RandomApply, v2.RandomChoice, v2.RandomOrder)
# Steps of exactly these types move no pixel, or move all by one of torchvision's functions; a subclass may do more.
_STILL = {
    *(v2.ColorJitter, v2.GaussianBlur, v2.Grayscale, v2.RandomGrayscale, v2.RandomPhotometricDistort),
    *(v2.Normalize, v2.PILToTensor, v2.ToDtype, v2.ToImage, v2.ToPureTensor, nn.Identity),
}
_MOVING = {
    *(v2.CenterCrop, v2.RandomCrop, v2.RandomResizedCrop, v2.Resize),
    *(v2.RandomHorizontalFlip, v2.RandomVerticalFlip),
}

_BY_BOXES: dict[type, str] = {  # what torchvision does by boxes; LabeledCompose takes samples that have them
    v2.RandomIoUCrop: "use v2.RandomResizedCrop, or give LabeledCompose a sample of picture, LabelTensor and boxes",
    v2.SanitizeBoundingBoxes: "leave it out",
}


def followed(step: Any, still: Sequence[Step]) -> Any:
    """The same step, or steps inside a step, over `Shown` instead of pictures, drawing the same random numbers.

    Args:
        step: of a v2 pipeline; it is left as it is.
        still: steps that, as the user knows, move and hide no pixel.

    Raises:
        LabelError: it cannot be followed, as `LabeledCompose` says, needs bounding boxes, or is for videos.
    """
    kind = type(step)
    if isinstance(step, v2.UniformTemporalSubsample):
        raise LabelError(
            f"{kind.__name__} cannot be in this pipeline: it is for videos, not for pictures; leave it out"
        )
    for needs_boxes, remedy in _BY_BOXES.items():
        if isinstance(step, needs_boxes):
            raise LabelError(
                f"{kind.__name__} cannot be in this pipeline: it needs bounding boxes, and a training picture has "
                f"none; {remedy}"
            )
    if kind in _STILL or any(step is known for known in still):
        return WatchedStep(step, run_still)
    if kind in _MOVING:
        return WatchedStep(step, _run_moving)
    if kind is v1.Compose:
        return v2.Compose([followed(inner, still) for inner in step.transforms])
    if kind in _CONTAINERS:
        return _rebuilt(step, [followed(inner, still) for inner in step.transforms])
    if kind is v2.Lambda or (not isinstance(step, v2.Transform) and takes_one(step)):
        return WatchedStep(step, run_recorded)
    if kind in _CARRYING:
        step = copy.copy(step)
        step.__class__ = _CARRYING[kind]
    return WatchedStep(LabeledCompose([step]), _run_beside_a_label)


def _run_moving(step: Any, given: Shown) -> Shown:
    """Run a step that moves all pixels by functions of torchvision's, and do the same to the warp."""
    spy, called = copy.copy(step), []

    def call(function: Callable[..., Any], picture: Any, *args: Any, **named: Any) -> Any:
        called.append((function.__name__, args, named))
        return step._call_kernel(function, picture, *args, **named)

    object.__setattr__(spy, "_call_kernel", call)
    result = spy(given.pixels)
    moved = _in_pixels(given)
    for name, args, named in called:
        moved = getattr(moved, name)(*args, **named)
    shown = Shown(result, moved.warp)
    if shown.size != moved.size:
        raise LabelError(
            f"{step!r} gave {described(result)}, but by what torchvision was asked to do it should have "
            f"{moved.size[0]}x{moved.size[1]} pixels; report it, with the version of torchvision"
        )
    return shown


def _run_beside_a_label(step: LabeledCompose, given: Shown) -> Shown:
    """Run a step that takes a sample, with a label that is moved with the picture."""
    label = LabelTensor(_ANY, given.pixels, canvas=given.size).moved(_in_pixels(given))
    result, label = step(given.pixels, label)
    return Shown(result, label.warp)


def _in_pixels(given: Shown) -> PixelWarp:
    return PixelWarp(given.warp, given.size, pillow=isinstance(given.pixels, Image.Image))


def takes_one(step: Callable[..., Any]) -> bool:
    """Whether a callable takes one thing, the picture, by position; also if it does not say what it takes."""
    try:
        parameters = inspect.signature(step.forward if isinstance(step, nn.Module) else step).parameters.values()
    except (TypeError, ValueError):
        return True
    kinds = [each.kind for each in parameters]
    positional = kinds.count(inspect.Parameter.POSITIONAL_ONLY) + kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return positional == 1 and inspect.Parameter.VAR_POSITIONAL not in kinds


def _rebuilt(container: Any, steps: list[Any]) -> Any:
    """The same container of other steps."""
    twin = copy.copy(container)
    twin.__dict__ = {**container.__dict__, "_modules": {**container._modules}}
    twin._modules.pop("transforms", None)  # a ModuleList
    twin.transforms = steps
    return twin


_OF_OTHERS = {  # what libraries give that say in another way what they move, and what to do with it
    "albumentations": "a pipeline of albumentations does not say what it moves: give a function (picture, generator) "
    "-> (pixels, warp) that sends a map of coordinates through it, and tokenlabel.from_coordinates (docs/trainers.md)",
    "kornia": "kornia augments batches of tensors: move pixels on the device, and give each label the matrix of its "
    "picture by tokenlabel.from_matrix (docs/trainers.md)",
    "transformers": "an image processor of Transformers makes batches, and does not say what it moves: give its steps "
    "as a pipeline, augment=[v2.RandomResizedCrop(224), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), "
    "v2.Normalize(processor.image_mean, processor.image_std)]",
}


def refuse_batches(augment: Any, still: Sequence[Step] = ()) -> None:
    """Check that a pipeline has no step of a library that says in another way what it moves.

    Args:
        augment: a pipeline, or a list of its steps.
        still: steps that, as the user knows, move and hide no pixel.

    Raises:
        LabelError: it is of albumentations or kornia, or an image processor of Transformers.
    """
    if any(augment is known for known in still):
        return
    for package in {kind.__module__.partition(".")[0] for kind in type(augment).__mro__} & _OF_OTHERS.keys():
        raise LabelError(f"{type(augment).__name__} cannot be traced: {_OF_OTHERS[package]}")
    for step in contained(augment):
        refuse_batches(step, still)
