"""How does a picture become a training picture? An augmentation gives its pixels, and the view that they have of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from storage import Box
from tokenlabel.errors import LabelError
from tokenlabel.view import View, random_view
from tokenlabel.warp import Warp

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for pixels in [0, 1]


class Augmentation(Protocol):
    """Makes training pictures. All its chance comes from the generator."""

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> tuple[torch.Tensor, View | Warp]:
        """The pixels float32 [3, H, W] of a training picture, and where each place of it comes from.

        Args:
            picture: RGB.
            rng: a generator of this picture's own.
        """
        ...


def normalised(picture: Image.Image) -> torch.Tensor:
    """An RGB picture as float32 [3, H, W] with ImageNet's mean and standard deviation taken out."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(3, 1, 1)


def whole_view(rng: np.random.Generator, size: tuple[int, int]) -> View:
    """A `draw` that always takes the whole picture: for evaluation."""
    return View(Box.whole())


@dataclass(frozen=True, slots=True)
class Crops:
    """Cuts a crop out, perhaps mirrored, by default as a random resized crop draws it; both with one resize.

    size:   height and width of training pictures, pixels
    draw:   (generator, (height, width) of the source picture) -> View
    finish: PIL picture -> float32 [3, H, W]; must move no pixel. By default ImageNet's normalisation
    """

    size: tuple[int, int]
    draw: Callable[[np.random.Generator, tuple[int, int]], View] = random_view
    finish: Callable[[Image.Image], torch.Tensor] = normalised

    def __post_init__(self) -> None:
        """Refuse what is no size.

        Raises:
            LabelError: it is not (height, width).
        """
        if not isinstance(self.size, tuple | list) or len(self.size) != 2 or min(self.size) < 1:
            raise LabelError(f"the size of crops must be (height, width) in pixels, not {self.size!r}")

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> tuple[torch.Tensor, View]:
        """Draw a view, and apply it."""
        view = self.draw(rng, (picture.height, picture.width))
        return self.finish(view.apply(picture, self.size)), view


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """All chance of torch, numpy and Python comes from this generator meanwhile: for transforms that take no other.

    What the three would have drawn before and after is not changed.
    """
    seed = int(rng.integers(2**31))
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
