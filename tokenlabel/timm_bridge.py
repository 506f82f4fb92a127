"""What does timm's own pipeline do to a picture's pixels? `Traced` runs it as it is, and watches.

    traced = Traced(timm.data.create_transform(224, is_training=True, auto_augment="rand-m9-mstd0.5-mmax9-inc1"))
    pixels, warp = traced(picture)                       # or as an augmentation: LabeledImages(…, augment=traced)

Each step is handed a `RecordedPicture`, and must move its pixels in one of these ways:

    through PIL's crop, resize, rotate, transpose, transform, copy or convert    as PIL was asked
    not at all, which is known of it: colours, ToTensor, Normalize               in their place
    by padding, bending or erasing, which is known of it                         as it drew its lots
    in any other way                                                             an error
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment, random_erasing
from timm.data import transforms as timm_transforms
from timm.data.naflex_transforms import Patchify
from torchvision import transforms
from torchvision.transforms import v2

from storage import Box
from tokenlabel.augment import seeded
from tokenlabel.errors import LabelError
from tokenlabel.pixel_warp import PixelWarp
from tokenlabel.recorded_picture import RecordedPicture
from tokenlabel.warp import Warp

Step = Callable[[Any], Any]


class Traced:
    """A timm or torchvision (v1) pipeline that also says where each place of its result comes from.

    Calling it with a PIL picture gives (pixels, warp): the tensor [channels, H, W] that the pipeline itself would have
    given with the same state of the generators of `random`, numpy and torch, to the bit, and the `Warp` from it to the
    picture. What was erased, and what was padded, even with the picture's own reflection, shows nothing of it.

    Give all settings to `timm.data.create_transform`, random erasing (`re_prob`) too, and none of them to
    `timm.data.create_loader`. That sets `dataset.transform` to a pipeline of its own, which is not traced, and with its
    prefetcher it erases on the device, when the targets have been made and still speak of the tokens that are gone. So
    `create_transform(..., re_prob=0.25)` goes with `create_loader(..., re_prob=0, use_prefetcher=False)`. Without
    erasing the prefetcher may stay: `create_transform(..., use_prefetcher=True)` gives the uint8 that it expects.

    Args:
        transform: what `create_transform` gives, `separate=True` included, or any `torchvision.transforms.Compose`.
        still: those steps in it, the very objects, of which you know that they move and hide no pixel: a change of
            colour of your own.

    Raises:
        LabelError: a step cannot be traced. At construction where its type says so already, else on the first picture
            of which the trace is lost.
    """

    def __init__(self, transform: Step | Sequence[Step], *, still: Sequence[Step] = ()) -> None:
        self._pipeline = _watched(transform, still)

    def __call__(self, picture: Image.Image, rng: np.random.Generator | None = None) -> tuple[torch.Tensor, Warp]:
        """The training picture, and where it comes from.

        All chance comes from the generator, as `LabeledImages` wants it, where one is given.
        """
        if rng is not None:
            with seeded(rng):
                return self(picture)
        if not isinstance(picture, Image.Image):
            raise LabelError(f"a traced pipeline starts from a PIL picture, but was given {_what(picture)}")
        shown = self._pipeline(_Shown(picture, Warp()))
        if not isinstance(shown.pixels, torch.Tensor) or shown.pixels.ndim != 3:
            raise LabelError(
                f"a traced pipeline must give a tensor [channels, H, W], but this one gave {_what(shown.pixels)}; "
                "end it with ToTensor"
            )
        return shown.pixels, shown.warp


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
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
                f"{step!r} was given a tensor, of which only bending, erasing and what moves no pixel can be traced: "
                "put the step before ToTensor; or, if it moves and hides no pixel, say so: "
                "Traced(transform, still=[step])"
            )
        return RecordedPicture(self.pixels, self.warp)


def _recorded(step: Step, given: _Shown) -> _Shown:
    """Run a step of which nothing is known."""
    result = step(given.recorded(step))
    if not isinstance(result, RecordedPicture) or result.warp is None:
        raise LabelError(
            f"{step!r} gave {_what(result)} whose pixels cannot be followed back to the source picture. Move them "
            "with PIL's crop, resize, rotate, transpose or transform (AFFINE, EXTENT, PERSPECTIVE): what numpy or "
            "torch moves, and what is drawn or pasted, cannot be traced. Or, if the step moves and hides no pixel, "
            "say so: Traced(transform, still=[step])"
        )
    return _Shown(result.picture, result.warp)


def _still(step: Step, given: _Shown) -> _Shown:
    """Run a step that moves no pixel."""
    result = step(given.pixels)
    if not isinstance(result, Image.Image | torch.Tensor):
        raise LabelError(f"{step!r} gave {_what(result)}, but a traced step must give a PIL picture or a tensor")
    shown = _Shown(result, given.warp)
    if shown.size != given.size:
        raise LabelError(
            f"{step!r} is said to move no pixel, but of {given.size[0]}x{given.size[1]} pixels it made "
            f"{shown.size[0]}x{shown.size[1]}; leave it out of still=[...]"
        )
    return shown


def _padded(step: Any, given: _Shown) -> _Shown:
    """Run a step that cuts out a window, which may reach beyond the picture and is padded there."""
    spy, drawn = _spy(step)
    result = spy(given.recorded(step))
    if isinstance(result, RecordedPicture) and result.warp is not None:
        return _Shown(result.picture, result.warp)
    # PIL was not asked for the padding. So let the step cut the same window out of a picture of numbers, padded with 0.
    spy.fill, spy.padding_mode = 0, "constant"
    spy.get_params = lambda *args: drawn[-1]
    rows, columns = given.size
    numbers = np.arange(1, rows * columns + 1, dtype="<u4").reshape(rows, columns, 1)
    found = np.asarray(spy(Image.fromarray(numbers.view(np.uint8)))).view("<u4")[..., 0].astype(np.int64)
    at = np.argwhere(found)
    if not len(at):  # nothing but padding
        return _Shown(result, given.warp.cropped(Box(1, 1, 2, 2)))
    corners = np.stack(np.divmod(found[found > 0] - 1, columns), 1) - at
    top, left = corners[0].tolist()
    if (corners != (top, left)).any() or found.shape != _Shown(result, given.warp).size:
        raise LabelError(f"{step!r} does more than to cut out and pad, as it was known to, and cannot be traced")
    return _Shown(result, given.in_pixels.crop(top, left, *found.shape).warp)


def _bent(step: Any, given: _Shown) -> _Shown:
    """Run torchvision's elastic transform."""
    spy, drawn = _spy(step)
    result = spy(given.pixels)
    return _Shown(result, given.in_pixels.elastic(drawn[-1]).warp)


def _erased(step: Any, given: _Shown) -> _Shown:
    """Run torchvision's random erasing."""
    spy, drawn = _spy(step)
    result = spy(given.pixels)
    # Where no rectangle fits, it paints the picture over with itself.
    holes = [(top, left, height, width) for top, left, height, width, paint in drawn if paint is not given.pixels]
    return _Shown(result, _with_holes(given, holes))


def _erased_by_timm(step: Any, given: _Shown) -> _Shown:
    """Run timm's random erasing, which keeps its lots to itself, on something that sees where it paints."""
    if not isinstance(given.pixels, torch.Tensor):
        raise LabelError(f"{step!r} was given {_what(given.pixels)}, but it erases tensors: put it after ToTensor")
    canvas = _Canvas(given.pixels)
    step(canvas)
    return _Shown(canvas.pixels, _with_holes(given, canvas.holes))


class _Canvas:
    """A tensor [channels, H, W], as far as timm's random erasing makes use of it."""

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels, self.dtype, self.size = pixels, pixels.dtype, pixels.size
        self.holes: list[tuple[int, int, int, int]] = []

    def __setitem__(self, where: tuple[slice, slice, slice], paint: torch.Tensor) -> None:
        self.pixels[where] = paint
        _, rows, columns = where
        self.holes.append((rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start))


def _with_holes(given: _Shown, holes: Iterable[tuple[int, int, int, int]]) -> Warp:
    """The warp with holes (top, left, height, width) in pixels."""
    pixels = given.in_pixels
    for hole in holes:
        pixels = pixels.erase(*hole)
    return pixels.warp


def _spy(step: Any) -> tuple[Any, list[Any]]:
    """The same step, and a list of the lots that it draws when it is run."""
    spy, drawn = copy.copy(step), []

    def get_params(*args: Any, **named: Any) -> Any:
        drawn.append(step.get_params(*args, **named))
        return drawn[-1]

    spy.get_params = get_params
    return spy, drawn


def _what(found: object) -> str:
    if isinstance(found, Image.Image):
        return f"a picture of {found.height}x{found.width} pixels"
    return f"a tensor of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"


# Which move no pixel and which pad is said of the very types: what a subclass does is not known.
_STILL = {
    *(transforms.ColorJitter, transforms.GaussianBlur, transforms.Grayscale, transforms.RandomGrayscale),
    *(transforms.RandomAdjustSharpness, transforms.RandomAutocontrast, transforms.RandomEqualize),
    *(transforms.RandomInvert, transforms.RandomPosterize, transforms.RandomSolarize),
    *(transforms.ConvertImageDtype, transforms.Normalize, transforms.PILToTensor, transforms.ToPILImage),
    *(transforms.ToTensor, timm_transforms.ToTensor),
    *(timm_transforms.MaybePILToTensor, timm_transforms.MaybeToTensor),
}
_STILL_OPS = {
    *(auto_augment.auto_contrast, auto_augment.brightness, auto_augment.color, auto_augment.contrast),
    *(auto_augment.desaturate, auto_augment.equalize, auto_augment.gaussian_blur, auto_augment.gaussian_blur_rand),
    *(auto_augment.invert, auto_augment.posterize, auto_augment.sharpness, auto_augment.solarize),
    auto_augment.solarize_add,
}
_PADDED = {
    *(transforms.CenterCrop, transforms.Pad, transforms.RandomCrop),
    *(timm_transforms.CenterCropOrPad, timm_transforms.RandomCropOrPad, timm_transforms.RandomPad),
}
_RUNS: dict[type, Callable[[Any, _Shown], _Shown]] = {
    **dict.fromkeys(_STILL, _still),
    **dict.fromkeys(_PADDED, _padded),
    transforms.ElasticTransform: _bent,
    transforms.RandomErasing: _erased,
    random_erasing.RandomErasing: _erased_by_timm,
}
_REFUSED: dict[type, str] = {
    **dict.fromkeys(
        (auto_augment.AugMixAugment, transforms.AugMix),
        "it mixes versions of the picture that were moved in different ways, so that a pixel comes from several "
        "places; use a policy that moves it once, such as auto_augment='rand-m9-mstd0.5-inc1'",
    ),
    **dict.fromkeys(
        (transforms.AutoAugment, transforms.RandAugment, transforms.TrivialAugmentWide),
        "among what it moves it changes colours in a way that loses the trace; use timm's policies (auto_augment=...)",
    ),
    **dict.fromkeys(
        (transforms.FiveCrop, transforms.TenCrop), "it makes several pictures of one; use a transform that gives one"
    ),
    transforms.LinearTransformation: "each of its pixels comes from all others; leave it out",
    Patchify: "it gives patches, not a picture; apply it to the pixels that the traced pipeline gives",
    v2.Transform: "it is of torchvision.transforms.v2, which carries labels along itself; see tokenlabel.transforms",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Watched:
    """A step, and how it is run."""

    step: Step
    run: Callable[[Step, _Shown], _Shown]

    def __call__(self, given: _Shown) -> _Shown:
        return self.run(self.step, given)


def _watched(step: Any, still: Sequence[Step]) -> Any:
    """The same pipeline over `_Shown` instead of pictures, drawing the same lots in the same order."""

    def each(steps: Iterable[Any]) -> list[Any]:
        return [_watched(inner, still) for inner in steps]

    kind = type(step)
    if any(step is known for known in still) or (kind is auto_augment.AugmentOp and step.aug_fn in _STILL_OPS):
        return _Watched(step, _still)
    if kind in (list, tuple, torch.nn.Sequential):
        return transforms.Compose(each(step))
    if kind in (transforms.Compose, transforms.RandomOrder):
        return kind(each(step.transforms))
    if kind in (transforms.RandomApply, transforms.RandomChoice):
        return kind(each(step.transforms), p=step.p)
    if kind is auto_augment.RandAugment:
        return auto_augment.RandAugment(each(step.ops), step.num_layers, choice_weights=step.choice_weights)
    if kind is auto_augment.AutoAugment:
        return auto_augment.AutoAugment([each(ops) for ops in step.policy])
    for refused, reason in _REFUSED.items():
        if isinstance(step, refused):
            raise LabelError(f"{kind.__name__} cannot be traced: {reason}")
    return _Watched(step, _RUNS.get(kind, _recorded))
