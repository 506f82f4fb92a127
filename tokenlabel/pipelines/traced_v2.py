"""How is a pipeline of torchvision's v2 traced? It runs as it is, and each of its steps is followed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from tokenlabel.geometry.warp import Warp
from tokenlabel.pipelines.own_step import followed
from tokenlabel.pipelines.watched_step import Shown, Step


class V2Pipeline:
    """A pipeline of torchvision's v2, watched; see `Traced`."""

    def __init__(self, transforms: Sequence[Callable[..., Any]], still: Sequence[Step]) -> None:
        self._steps = [followed(step, still) for step in transforms]

    def __call__(self, picture: Image.Image) -> tuple[Any, Warp]:
        """What the pipeline makes of a picture, and where each of its points comes from."""
        shown = Shown(picture, Warp())
        for step in self._steps:
            shown = step(shown)
        return shown.pixels, shown.warp
