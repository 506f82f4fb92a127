"""How is a step run, and how do we learn which pixels it moves or hides?

Each step is handed a `RecordedPicture`, and must move its pixels in one of these ways:

    through PIL's crop, resize, rotate, transpose, transform, copy or convert    run_recorded: as PIL was asked
    not at all, by its known type: colours, ToTensor, Normalize                  run_still: pixels stay
    by padding, bending or erasing, by its known type                            run_padded, run_bent, run_erased
    in any other way                                                             an error
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import autoaugment

from storage import Box
from tokenlabel.errors import LabelError
from tokenlabel.geometry.pixel_warp import PixelWarp
from tokenlabel.geometry.warp import Warp
from tokenlabel.pipelines.pil_recorder import RecordedPicture

Step = Callable[[Any], Any]

# Operations of torchvision's policies that move no pixel, v1 and v2.
COLOUR_OPERATIONS = {
    *("AutoContrast", "Brightness", "Color", "Contrast", "Equalize", "Identity", "Invert", "Posterize", "Sharpness"),
    "Solarize",
}

MIXES_VERSIONS = (  # why AugMix is refused, torchvision's and timm's
    "it mixes versions of the picture that were moved in different ways, so that a pixel comes from several points of "
    "the picture; use a policy that moves it once, such as auto_augment='rand-m9-mstd0.5-inc1'"
)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What one step hands to the next: a picture or a tensor [..., H, W], and where it comes from."""

    pixels: Image.Image | torch.Tensor
    warp: Warp

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        if isinstance(self.pixels, torch.Tensor):
            return self.pixels.shape[-2], self.pixels.shape[-1]
        return self.pixels.height, self.pixels.width

    @property
    def in_pixels(self) -> PixelWarp:
        """The warp, for what is said in pixels."""
        return PixelWarp(self.warp, self.size)

    def recorded(self, step: Step) -> RecordedPicture:
        """The picture for this step to move, watched."""
        if isinstance(self.pixels, torch.Tensor):
            raise LabelError(
                f"{step!r} was given a tensor, and on tensors only elastic transforms, erasing and steps that move no "
                "pixel can be traced: put the step before ToTensor; or, if it moves and hides no pixel, say so: "
                "Traced(transform, still=[step])"
            )
        return RecordedPicture(self.pixels, self.warp)


def run_recorded(step: Step, given: Shown) -> Shown:
    """Run a step of an unknown type."""
    result = step(given.recorded(step))
    if not isinstance(result, RecordedPicture) or result.warp is None:
        raise LabelError(
            f"{step!r} gave {described(result)} whose pixels cannot be followed back to the source picture. Move them "
            "with PIL's crop, resize, rotate, transpose or transform (AFFINE, EXTENT, PERSPECTIVE): what numpy or "
            "torch moves, and what is drawn or pasted, cannot be traced. Or, if the step moves and hides no pixel, "
            "say so: Traced(transform, still=[step])"
        )
    return Shown(result.picture, result.warp)


def run_still(step: Step, given: Shown) -> Shown:
    """Run a step that moves no pixel."""
    result = step(given.pixels)
    if not isinstance(result, Image.Image | torch.Tensor):
        raise LabelError(f"{step!r} gave {described(result)}, but a traced step must give a PIL picture or a tensor")
    shown = Shown(result, given.warp)
    if shown.size != given.size:
        raise LabelError(
            f"{step!r} was run as a step that moves no pixel, but gave {shown.size[0]}x{shown.size[1]} pixels for "
            f"{given.size[0]}x{given.size[1]}; remove it from still=[...]"
        )
    return shown


def run_policy(step: Any, given: Shown) -> Shown:
    """Run a policy of torchvision's v1: its operations on colours move no pixel, the others are recorded."""

    def apply(picture: Any, name: str, *settings: Any, **named: Any) -> Any:
        if name not in COLOUR_OPERATIONS or not isinstance(picture, RecordedPicture) or picture.warp is None:
            return autoaugment._apply_op(picture, name, *settings, **named)
        return RecordedPicture(autoaugment._apply_op(picture.picture, name, *settings, **named), picture.warp)

    # torchvision's own method, in which only this function is ours.
    forward = type(step).forward
    names = {**forward.__globals__, "_apply_op": apply}
    watched = FunctionType(forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__)
    return run_recorded(partial(watched, step), given)


def run_padded(step: Any, given: Shown) -> Shown:
    """Run a step that cuts out a window, which may reach beyond the picture and is padded there."""
    spy, drawn = _spy(step)
    result = spy(given.recorded(step))
    if isinstance(result, RecordedPicture) and result.warp is not None:
        return Shown(result.picture, result.warp)
    # The padding was not made by PIL: let the step cut the same window out of a picture of numbers, padded with 0.
    spy.fill, spy.padding_mode = 0, "constant"
    spy.get_params = lambda *args: drawn[-1]
    rows, columns = given.size
    numbers = np.arange(1, rows * columns + 1, dtype="<u4").reshape(rows, columns, 1)
    found = np.asarray(spy(Image.fromarray(numbers.view(np.uint8)))).view("<u4")[..., 0].astype(np.int64)
    at = np.argwhere(found)
    if not len(at):  # nothing but padding
        return Shown(result, given.warp.cropped(Box(1, 1, 2, 2)))
    corners = np.stack(np.divmod(found[found > 0] - 1, columns), 1) - at
    top, left = corners[0].tolist()
    if (corners != (top, left)).any() or found.shape != Shown(result, given.warp).size:
        raise LabelError(
            f"{step!r} cannot be traced: steps of its type crop and pad, but what it gave is not one window of the "
            "picture; move pixels with PIL's methods, in a step of your own"
        )
    return Shown(result, given.in_pixels.crop(top, left, *found.shape).warp)


def run_bent(step: Any, given: Shown) -> Shown:
    """Run torchvision's elastic transform."""
    spy, drawn = _spy(step)
    result = spy(given.pixels)
    return Shown(result, given.in_pixels.elastic(drawn[-1]).warp)


def run_erased(step: Any, given: Shown) -> Shown:
    """Run torchvision's random erasing."""
    spy, drawn = _spy(step)
    result = spy(given.pixels)
    # Where no rectangle fits, it paints the picture over with itself.
    holes = [(top, left, height, width) for top, left, height, width, paint in drawn if paint is not given.pixels]
    return Shown(result, with_holes(given, holes))


def with_holes(given: Shown, holes: Iterable[tuple[int, int, int, int]]) -> Warp:
    """The warp with holes (top, left, height, width) in pixels."""
    pixels = given.in_pixels
    for hole in holes:
        pixels = pixels.erase(*hole)
    return pixels.warp


def _spy(step: Any) -> tuple[Any, list[Any]]:
    """The same step, and a list that receives the random parameters of each run."""
    spy, drawn = copy.copy(step), []

    def get_params(*args: Any, **named: Any) -> Any:
        drawn.append(step.get_params(*args, **named))
        return drawn[-1]

    spy.get_params = get_params
    return spy, drawn


def described(found: object) -> str:
    """What was found, for an error."""
    if isinstance(found, Image.Image):
        return f"a picture of {found.height}x{found.width} pixels"
    return f"a tensor of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"


@dataclass(frozen=True, slots=True, eq=False)
class WatchedStep:
    """A step, and how it is run."""

    step: Any
    run: Callable[[Any, Shown], Shown]

    def __call__(self, given: Shown) -> Shown:
        """What the step makes of what it is given.

        Raises:
            LabelError: its trace is lost, or it does not take a picture alone.
        """
        try:
            return self.run(self.step, given)
        except (AttributeError, LookupError, NotImplementedError, TypeError) as error:
            raise LabelError(
                f"{self.step!r} cannot be traced: it was given {described(given.pixels)}, and raised "
                f"{type(error).__name__}: {error}. A step takes one picture and gives one: leave out steps for videos, "
                "batches or boxes, and call a step of another form in a function of the picture"
            ) from error
