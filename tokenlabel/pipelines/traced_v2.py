"""How is a pipeline of torchvision's v2 traced? A label passes through it with the picture, and records each move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from storage import LabelMap, Status
from tokenlabel.geometry.warp import Warp
from tokenlabel.pipelines.label_tensor import LabelTensor
from tokenlabel.pipelines.own_step import followed
from tokenlabel.pipelines.policies import LabeledCompose
from tokenlabel.pipelines.watched_step import Step

_ANY = LabelMap.unlabelled(Status.MISSING, grid=(1, 1), k=1, class_count=1)  # only its geometry is used


class V2Pipeline:
    """A pipeline of torchvision's v2, watched; see `Traced`."""

    def __init__(self, transforms: Sequence[Callable[..., Any]], still: Sequence[Step]) -> None:
        self._run = LabeledCompose([followed(step, still) for step in transforms])

    def __call__(self, picture: Image.Image) -> tuple[Any, Warp]:
        """What the pipeline makes of a picture, and where each of its points comes from."""
        pixels, label = self._run(picture, LabelTensor(_ANY, picture, canvas=picture.size[::-1]))
        return pixels, label.warp
