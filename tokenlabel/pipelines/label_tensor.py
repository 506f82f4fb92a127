"""How does a label follow its picture through torchvision's v2 pipelines? As a LabelTensor, which records each move.

    pipeline = LabeledCompose([v2.RandomResizedCrop(224), RandAugment(), v2.ToImage(), ResolveLabels((14, 14))])
    picture, targets = pipeline(picture, LabelTensor(label, picture))

The steps are torchvision's own; `policies` replaces the few that would move a picture without its label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn, Self

import PIL.Image
import torch
from torch._C import DisableTorchFunctionSubclass
from torch.utils.data._utils.collate import default_collate_fn_map
from torchvision.transforms.v2 import Transform, functional
from torchvision.tv_tensors import Image, TVTensor

from storage import LabelMap, Status
from tokenlabel.errors import LabelError
from tokenlabel.geometry.pixel_warp import PixelWarp
from tokenlabel.geometry.warp import Warp
from tokenlabel.targets.sparse import check_grid
from tokenlabel.targets.token_targets import TokenTargets, token_targets


class LabelTensor(TVTensor):  # type: ignore[misc]  # torchvision has no types
    """The label of a picture on its way through a pipeline, beside the picture.

    It only records how the picture is moved. `ResolveLabels`, the pipeline's last step, reads the label once, for what
    the picture shows at the end. It is an empty tensor, because torchvision passes tensors through its steps.

    label:   of one source picture, [h, w, k]
    pixels:  how the picture was made of its source so far, and how large it is
    picture: the picture object that it belongs to, until a `LabeledCompose` takes both; or None
    watched: whether a `LabeledCompose` checks that the label is moved with the picture

    Args:
        label: the label of one source picture.
        picture: the picture that was labelled, as it goes into the pipeline. A `LabeledCompose` takes no other, so that
            nothing can have moved it before; torchvision's functions do not need it.
        canvas: height and width of the picture, if it is a smaller or larger copy of the one that was labelled.

    Raises:
        LabelError: labels of more than one picture; a label without its picture's size, and no canvas; a picture of
            another size. Later: operations whose result would be a tensor without the label, such as arithmetic or
            indexing.
    """

    label: LabelMap
    pixels: PixelWarp
    picture: Any | None
    watched: bool

    def __new__(cls, label: LabelMap, picture: Any | None = None, *, canvas: tuple[int, int] | None = None) -> Self:
        """Make the LabelTensor of a picture that was not moved yet."""
        if label.status.ndim:
            raise LabelError(
                f"a LabelTensor belongs to one picture, but got labels of the shape {label.status.shape}; index them "
                "first: labels[i]"
            )
        height, width = canvas or label.sizes.tolist()
        if not (height and width):
            raise LabelError(
                "the label does not say how large its picture is (its status is "
                f"{Status(int(label.status)).word}); give canvas=(height, width), the picture's pixels"
            )
        made = cls._made(label, PixelWarp(Warp(), (height, width)), picture=picture, watched=False)
        if picture is not None:
            picture_of([picture, made], when="when its LabelTensor is made")
        return made

    @classmethod
    def _made(cls, label: LabelMap, pixels: PixelWarp, *, picture: Any | None, watched: bool) -> Self:
        made = torch.empty(0).as_subclass(cls)
        made.label, made.pixels, made.picture, made.watched = label, pixels, picture, watched
        return made

    @classmethod
    def wrap(cls, tensor: torch.Tensor, like: TVTensor, **changes: Any) -> Self:
        """A tensor with the label of another; torchvision calls it."""
        made = torch.Tensor.as_subclass(tensor, cls)
        for name in ("label", "pixels", "picture", "watched"):
            setattr(made, name, changes.get(name, getattr(like, name)))
        return made

    @property
    def warp(self) -> Warp:
        """How the picture was made of its source so far."""
        return self.pixels.warp

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the picture now, pixels."""
        return self.pixels.size

    def moved(self, pixels: PixelWarp) -> LabelTensor:
        """The same label for a picture that was moved."""
        return self._made(self.label, pixels, picture=self.picture, watched=self.watched)

    def beside(self, picture: Any | None) -> LabelTensor:
        """The same label, watched beside this picture; with None no longer watched."""
        watched, pillow = picture is not None, isinstance(picture, PIL.Image.Image)
        if watched == self.watched and pillow == self.pixels.pillow:
            return self
        return self._made(self.label, replace(self.pixels, pillow=pillow), picture=None, watched=watched)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Keep the label where a tensor is only copied; refuse operations that would lose it."""
        if not all(issubclass(cls, other) for other in types):
            return NotImplemented
        with DisableTorchFunctionSubclass():
            output = func(*args, **(kwargs or {}))
        if func in _COPIES and isinstance(args[0], cls):
            return cls.wrap(output, args[0])
        parts = output if isinstance(output, (tuple, list)) else [output]
        if any(isinstance(part, torch.Tensor) for part in parts):
            raise _lost(func.__name__)
        return output

    def as_subclass(self, cls: Any) -> Any:
        """Refuse: torchvision's ToPureTensor would make it a plain tensor."""
        raise _lost("as_subclass")

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        (rows, columns), (height, width) = self.label.grid, self.canvas
        return f"LabelTensor({rows}x{columns} grid, picture of {height}x{width} after {len(self.warp.stages)} stages)"


_COPIES = {
    torch.Tensor.clone,
    torch.Tensor.cpu,
    torch.Tensor.cuda,
    torch.Tensor.detach,
    torch.Tensor.pin_memory,
    torch.Tensor.requires_grad_,
    torch.Tensor.to,
}


def _lost(doing: str) -> LabelError:
    return LabelError(
        f"{doing} would make a tensor of a LabelTensor that has lost its label; let ResolveLabels, the pipeline's last "
        "step, make targets of it first"
    )


class ResolveLabels(Transform):  # type: ignore[misc]
    """The last step of a `LabeledCompose`: each LabelTensor becomes `TokenTargets` of one picture.

    Args:
        tokens: rows and columns of tokens of the model.
        keep: classes kept at each position.

    Raises:
        LabelError: `tokens` is not (rows, columns). For a sample: it has no LabelTensor, or no picture; a picture
            without a label; a picture that is not as large as its LabelTensor's canvas; a pipeline that is not a
            LabeledCompose.
    """

    def __init__(self, tokens: tuple[int, int], keep: int = 8) -> None:
        super().__init__()
        check_grid(tokens, keep)
        self.tokens, self.keep = tokens, keep

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Check that each LabelTensor of a sample was moved with its picture."""
        labels = [each for each in flat_inputs if isinstance(each, LabelTensor)]
        if not labels:
            raise LabelError(
                "ResolveLabels found no LabelTensor in the sample; give LabelTensor(label, picture) beside the picture"
            )
        if not all(label.watched for label in labels):
            raise LabelError(
                "ResolveLabels found a LabelTensor outside of a LabeledCompose, which would check that every transform "
                "that moves the picture moves its label too; make the pipeline a LabeledCompose([...])"
            )
        picture_of(flat_inputs, when="at the end of the pipeline")

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The targets of a LabelTensor; anything else unchanged."""
        return self._targets(inpt) if isinstance(inpt, LabelTensor) else inpt

    def _targets(self, label: LabelTensor) -> TokenTargets:
        return token_targets(LabelMap.stack([label.label]), [label.warp], self.tokens, keep=self.keep)[0]


def picture_of(leaves: Sequence[Any], *, when: str) -> Any | None:
    """The picture of a sample with LabelTensors, which must all have its size; None if there is no LabelTensor.

    Raises:
        LabelError: one has another size, or there is no picture.
    """
    labels = [leaf for leaf in leaves if isinstance(leaf, LabelTensor)]
    if not labels:
        return None
    # As in torchvision: a plain tensor counts as the picture only if there is no other, and only the first.
    plain = (leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and not isinstance(leaf, TVTensor))
    pictures = [leaf for leaf in leaves if isinstance(leaf, (PIL.Image.Image, Image))] or [*plain][:1]
    if not pictures:
        raise LabelError(f"{when}, the sample has a LabelTensor, but no picture beside it, neither PIL's nor a tensor")
    for picture in pictures:
        height, width = functional.get_size(picture)
        for label in labels:
            if label.canvas != (height, width):
                raise LabelError(
                    f"{when}, the picture has {height}x{width} pixels, but its LabelTensor is for one with "
                    f"{label.canvas[0]}x{label.canvas[1]}: something changed the picture alone. Make "
                    "LabelTensor(label, picture) for the picture as it was labelled, before it is resized or rotated "
                    "by EXIF, or give the canvas of a smaller copy; and give each transform of your own that moves "
                    "pixels a kernel for LabelTensor"
                )
    return pictures[0]


def _kernel(move: Callable[..., PixelWarp]) -> Callable[..., LabelTensor]:
    """The kernel that torchvision calls with a LabelTensor and the arguments for the picture."""

    def kernel(label: LabelTensor, *args: Any, **named: Any) -> LabelTensor:
        return label.moved(move(label.pixels, *args, **named))

    return kernel


def _refused(label: LabelTensor, *args: Any, **named: Any) -> NoReturn:
    raise LabelError(
        "FiveCrop and TenCrop make several pictures of one, but a LabelTensor belongs to one picture: crop one at a "
        "time, with CenterCrop or RandomCrop, each beside its own LabelTensor"
    )


def _collated(batch: Sequence[LabelTensor], *, collate_fn_map: object = None) -> list[LabelTensor]:
    return [*batch]


_MOVES = (
    "affine",
    "center_crop",
    "crop",
    "elastic",
    "erase",
    "horizontal_flip",
    "pad",
    "perspective",
    "resize",
    "resized_crop",
    "rotate",
    "vertical_flip",
)
for _name in _MOVES:
    functional.register_kernel(_name, LabelTensor)(_kernel(getattr(PixelWarp, _name)))
for _name in ("five_crop", "ten_crop"):
    functional.register_kernel(_name, LabelTensor)(_refused)
default_collate_fn_map[LabelTensor] = _collated
