"""How does any pipeline say what it moves? What is not an augmentation of ours is traced without being asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn
from torchvision import transforms as v1

from tokenlabel.errors import LabelError
from tokenlabel.pipelines.crops import Augmentation, Crops
from tokenlabel.pipelines.own_step import refuse_batches, takes_one
from tokenlabel.pipelines.traced import Traced
from tokenlabel.pipelines.traced_v1 import is_v1


def as_augmentation(augment: Any) -> Augmentation:
    """An augmentation as it is, and a pipeline traced.

    Args:
        augment: an `Augmentation`, which takes (picture, generator); or what takes a picture alone: a pipeline of
            torchvision's, v1 or v2, or of timm's, a list of its steps, or a function.

    Raises:
        LabelError: it cannot be called; a list of augmentations; a pipeline that cannot be traced, as `Traced` says;
            one of albumentations or kornia, which say in another way what they move; an image processor of
            Transformers; a function of another form.
    """
    if isinstance(augment, Crops | Traced):
        return augment
    if isinstance(augment, list | tuple) and any(isinstance(step, Crops | Traced) for step in augment):
        raise LabelError(
            "a list is the steps of one pipeline, but Crops and Traced each make a training picture: give one of them, "
            "or Views(…) for several views of a picture"
        )
    refuse_batches(augment)
    if isinstance(augment, list | tuple | v1.Compose | nn.Module) or is_v1(augment):
        return Traced(augment)
    if not callable(augment) or inspect.isclass(augment):
        raise LabelError(
            "augment must be Crops(…), a pipeline of torchvision's or timm's, or a function (picture, generator) -> "
            f"(pixels, view), not {augment!r:.80}"
        )
    if takes_one(augment):
        return Traced([augment])
    if not _takes_two(augment):
        raise LabelError(
            f"augment={augment!r:.80} takes neither a picture alone nor (picture, generator): give a function of one "
            "of the two forms that calls it"
        )
    known: Augmentation = augment
    return known


def _takes_two(augment: Callable[..., Any]) -> bool:
    """Whether a callable can be called with two things by position; also if it does not say what it takes."""
    try:
        inspect.signature(augment).bind(None, None)
    except ValueError:
        return True
    except TypeError:
        return False
    return True
