"""How do torchvision's v2 pipelines make training pictures for `LabeledImages`? As an augmentation that is traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from storage import LabelMap as Label
from storage import Status
from tokenlabel.augment import seeded
from tokenlabel.policies import LabeledCompose
from tokenlabel.transforms import LabelMap
from tokenlabel.warp import Warp

_ANY = Label.unlabelled(Status.MISSING, grid=(1, 1), k=1, class_count=1)  # only its geometry is asked for


class Traced:
    """A v2 pipeline as an augmentation, see `LabeledImages`. It ends with float32 pixels [3, H, W], and needs no label.

        Traced([v2.RandomResizedCrop(224), RandAugment(), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])

    Args:
        transforms: the steps, as `LabeledCompose` takes them: torchvision's, and this package's policies.

    Raises:
        LabelError: a step would leave a label behind; of a picture, a step that changed its size alone.
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        self._pipeline = LabeledCompose(transforms)

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> tuple[torch.Tensor, Warp]:
        """The pixels, and where each place of them comes from."""
        with seeded(rng):
            pixels, label = self._pipeline(picture, LabelMap(_ANY, picture, canvas=picture.size[::-1]))
        return pixels, label.warp
