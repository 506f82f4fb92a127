"""What does any dataset give for an index? A picture and a class, wherever they lie in its samples and in any form."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from tokenlabel.errors import LabelError

Field = str | int | Callable[[Any], Any]
"""Where something lies in a sample: a key or an attribute, a position, or a function of the sample."""


@dataclass(frozen=True, slots=True)
class SampleForm:
    """Where the picture and its class lie in the samples of a dataset, and which names classes have.

    image: of the picture; None in pairs (picture, class)
    label: of the class; None in pairs, and where samples have none
    names: of the classes by their number, for classes that are given by name
    """

    image: Field | None
    label: Field | None
    names: Sequence[str]

    def picture(self, sample: Any, index: int) -> Image.Image:
        """The picture of a sample, PIL, with the pixels as they are stored.

        Args:
            sample: what the dataset gives.
            index: of the sample, for errors.

        Raises:
            LabelError: the sample has another form, or its picture one that is not known, or grey of over 8 bits.
        """
        if self.image is None and not _is_pair(sample):
            raise _unknown(sample, index)
        picture = _as_pil(_field(sample, 0 if self.image is None else self.image, "image", index), index)
        if picture.mode[0] in "IF":
            raise LabelError(
                f"picture {index} has grey values of more than 8 bits (PIL's mode {picture.mode}), which PIL's "
                "conversion would clip to white: give image=function, which scales them to 8 bits as the labels were "
                "made (docs/pictures.md)"
            )
        return picture

    def class_number(self, sample: Any, index: int) -> int | None:
        """The class of a sample; None if it has none.

        Raises:
            LabelError: it is neither a number nor the name of a class.
        """
        if self.image is not None and self.label is None:
            return None
        found = _field(sample, 1 if self.label is None else self.label, "label", index)
        if isinstance(found, str):
            if found not in self.names:
                raise LabelError(
                    f"picture {index} has the class {found!r}, which is the name of no class of the labels; give "
                    "label=function, which makes a class number of a sample, or own_classes=False"
                )
            return list(self.names).index(found)
        if found is None:
            return None
        if isinstance(found, torch.Tensor | np.ndarray) and found.shape == (1,):
            found = found[0]
        try:
            return int(found.__index__())
        except (AttributeError, TypeError):
            raise LabelError(
                f"the class of picture {index} is {_described(found)}, but must be a class number, a name, or None; "
                "give label=function, which makes one of a sample: label=lambda sample: int(sample[1].argmax())"
            ) from None


def column(images: Any, field: Field | None) -> Sequence[Any] | None:
    """A field of all samples, where a dataset keeps it as a column and need not read pictures for it; else None."""
    names = getattr(images, "column_names", None)
    if isinstance(field, str) and isinstance(names, list) and field in names:
        return list(images[field])
    return None


def keys_of(images: Any, key: Field) -> list[str]:
    """The store's key of each picture, from its samples; reads all of them where the key is not a column.

    Raises:
        LabelError: a key is no text.
    """
    found = column(images, key)
    if found is None:
        found = [_field(images[index], key, "key", index) for index in range(len(images))]
    wrong = next((n for n, each in enumerate(found) if not isinstance(each, str)), None)
    if wrong is not None:
        raise LabelError(
            f"the key of picture {wrong} is {found[wrong]!r:.60}, but a key is text: the picture's path relative to "
            "the folder that was labelled"
        )
    return list(found)


def _is_pair(sample: Any) -> bool:
    return isinstance(sample, tuple | list) and len(sample) == 2


def _field(sample: Any, field: Field, role: str, index: int) -> Any:
    try:
        if callable(field):
            return field(sample)
        if isinstance(field, str) and not isinstance(sample, Mapping):
            return getattr(sample, field)
        return sample[field]
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        if callable(field):
            raise
        raise LabelError(f"{role}={field!r} is not in sample {index}, which is {_described(sample)}") from error


def _unknown(sample: Any, index: int) -> LabelError:
    how = "image=0, label=1"
    if isinstance(sample, Mapping):
        how = "image='NAME' and label='NAME' of these"
    elif not isinstance(sample, tuple | list):
        how = "image=function and label=function, each of which takes a sample"
    if isinstance(sample, Image.Image | np.ndarray | torch.Tensor):
        how = "image=lambda sample: sample, and own_classes=False"
    return LabelError(
        f"sample {index} of the dataset is {_described(sample)}, not a pair (picture, class number): say where the "
        f"picture and its class are, with {how}"
    )


def _described(found: Any) -> str:
    """What was found, for an error."""
    if isinstance(found, Mapping):
        return f"a {type(found).__name__} with {', '.join(f'{k!r} ({type(v).__name__})' for k, v in found.items())}"
    if isinstance(found, tuple | list) and len(found) <= 9:
        return f"a {type(found).__name__} of {len(found)}: {', '.join(type(each).__name__ for each in found)}"
    if isinstance(found, np.ndarray | torch.Tensor):
        return f"a {type(found).__name__} {found.dtype} {list(found.shape)}"
    return f"a {type(found).__name__}"


def _as_pil(found: Any, index: int) -> Image.Image:
    """A picture as PIL: of numpy [H, W, C], of torch [C, H, W], of the bytes or the path of a row of Hugging Face's."""
    if isinstance(found, Image.Image):
        return found
    if isinstance(found, Mapping) and {"bytes", "path"} <= found.keys():
        return Image.open(found["path"] if found["bytes"] is None else io.BytesIO(found["bytes"]))
    pixels = found
    if isinstance(pixels, torch.Tensor):
        pixels = pixels.detach().cpu().numpy()
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8:
        pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
            return Image.fromarray(np.ascontiguousarray(pixels))
    raise LabelError(
        f"picture {index} is {_described(found)}, but must be as it was labelled: a PIL picture, numpy uint8 [H, W, 3] "
        f"or a tensor uint8 [3, H, W], RGB. {_remedy(found)}"
    )


def _remedy(found: Any) -> str:
    """The argument that makes a picture of what was found, where sample[0] stands for it."""
    shape = found.shape if isinstance(found, torch.Tensor | np.ndarray) else ()
    if isinstance(found, str | os.PathLike):
        return "Give image=lambda sample: PIL.Image.open(sample[0]), with where the path is in a sample"
    if isinstance(found, bytes | bytearray):
        return "Give image=lambda sample: PIL.Image.open(io.BytesIO(sample[0])), with where they are in a sample"
    if len(shape) == 3 and "uint8" in str(found.dtype):
        numbers = "a tensor" if isinstance(found, torch.Tensor) else "numpy"
        axes = "(2, 0, 1)" if isinstance(found, torch.Tensor) else "(1, 2, 0)"
        turn = "permute" if isinstance(found, torch.Tensor) else "transpose"
        return f"If its axes are in another order, give image=lambda sample: sample[0].{turn}{axes}, for {numbers}"
    return "Transforms, such as ToTensor, go into augment; image=function may make another form of it"
