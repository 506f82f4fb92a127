"""How is a step of a v2 pipeline that takes the picture alone run beside a label? Watched, or as one that stays still.

torchvision's v2 hands a whole sample to each step. `Lambda`, `ToPureTensor` and functions of one's own that take a
picture know nothing of the label beside it; torchvision's policies move the picture and leave the label.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from tokenlabel.errors import LabelError
from tokenlabel.pipelines.label_tensor import LabelTensor
from tokenlabel.pipelines.policies import AutoAugment, RandAugment, TrivialAugmentWide
from tokenlabel.pipelines.watched_step import Shown, Step, run_recorded, run_still

# This package's own policies draw and do the same, and move the label too.
_CARRYING: dict[type, type] = {
    v2.AutoAugment: AutoAugment,
    v2.RandAugment: RandAugment,
    v2.TrivialAugmentWide: TrivialAugmentWide,
}
_CONTAINERS = (v2.Compose, v2.RandomApply, v2.RandomChoice, v2.RandomOrder)


def followed(step: Any, still: Sequence[Step]) -> Any:
    """The same step, or steps inside a step, such that a label follows it.

    Args:
        step: of a v2 pipeline; it is left as it is.
        still: steps that, as the user knows, move and hide no pixel.
    """
    kind = type(step)
    if any(step is known for known in still) or kind in (v2.ToPureTensor, nn.Identity):
        return _PictureStep(step, run_still)
    if kind in _CARRYING:
        twin = copy.copy(step)
        twin.__class__ = _CARRYING[kind]
        return twin
    if kind is v1.Compose:
        return v2.Compose([followed(inner, still) for inner in step.transforms])
    if kind in _CONTAINERS:
        return _rebuilt(step, [followed(inner, still) for inner in step.transforms])
    if kind is v2.Lambda or (not isinstance(step, v2.Transform) and takes_one(step)):
        return _PictureStep(step, run_recorded)
    return step


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


@dataclass(frozen=True, slots=True, eq=False)
class _PictureStep:
    """A step that takes a picture, for samples (picture, label)."""

    step: Step
    run: Callable[[Step, Shown], Shown]

    def __call__(self, picture: Any, label: LabelTensor) -> tuple[Any, LabelTensor]:
        """The picture that the step makes, and the label that belongs to it."""
        shown = self.run(self.step, Shown(picture, label.warp))
        return shown.pixels, label.moved(replace(label.pixels, warp=shown.warp, size=shown.size))


def refuse_batches(augment: Any) -> None:
    """Check that a pipeline is not one of a library that says in another way what it moves.

    Raises:
        LabelError: it is of albumentations or kornia.
    """
    package = type(augment).__module__.partition(".")[0]
    if package == "albumentations":
        raise LabelError(
            "a pipeline of albumentations does not say what it moves: give a function (picture, generator) -> (pixels, "
            "warp) that sends a map of coordinates through it, and tokenlabel.from_coordinates (docs/trainers.md)"
        )
    if package == "kornia":
        raise LabelError(
            "kornia augments batches of tensors: move pixels on the device, and give each label the matrix of its "
            "picture by tokenlabel.from_matrix (docs/trainers.md)"
        )
