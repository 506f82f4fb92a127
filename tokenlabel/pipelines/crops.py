"""How does a picture become a training picture? An augmentation gives pixels, and where they come from."""

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
from tokenlabel.geometry.view import View, random_view
from tokenlabel.geometry.warp import Warp

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, for pixels in [0, 1]


class Augmentation(Protocol):
    """Makes training pictures. All its randomness comes from the generator."""

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> tuple[torch.Tensor, View | Warp]:
        """The pixels float32 [3, H, W] of a training picture, and where each point of it comes from.

        Args:
            picture: RGB.
            rng: this picture's own generator.
        """
        ...


def normalised(picture: Image.Image) -> torch.Tensor:
    """An RGB picture as float32 [3, H, W], normalised by ImageNet's mean and standard deviation.

    Example:
        >>> normalised(Image.new("RGB", (1, 1), (124, 116, 104))).abs().max() < 0.02  # about ImageNet's mean
        tensor(True)
    """
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(3, 1, 1)


def whole_view(rng: np.random.Generator, size: tuple[int, int]) -> View:
    """The whole picture, whatever the generator: the `draw` of `Crops` for evaluation.

    Example:
        >>> whole_view(np.random.default_rng(0), (480, 640)) == View(Box(0, 0, 1, 1))
        True
    """
    return View(Box.whole())


@dataclass(frozen=True, slots=True)
class Crops:
    """Crops a picture and perhaps mirrors it, by default as a random resized crop; resizes once.

    size:   height and width of training pictures, pixels
    draw:   (generator, (height, width) of the source picture) -> View
    finish: PIL picture -> float32 [3, H, W]; it must not move pixels. By default ImageNet's normalisation
    """

    size: tuple[int, int]
    draw: Callable[[np.random.Generator, tuple[int, int]], View] = random_view
    finish: Callable[[Image.Image], torch.Tensor] = normalised

    def __post_init__(self) -> None:
        """Check the size.

        Raises:
            LabelError: it is not (height, width), each at least 1.
        """
        if not isinstance(self.size, tuple | list) or len(self.size) != 2 or min(self.size) < 1:
            raise LabelError(f"the size of crops must be (height, width) in pixels, not {self.size!r}")

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> tuple[torch.Tensor, View]:
        """Draw a view and apply it."""
        view = self.draw(rng, (picture.height, picture.width))
        return self.finish(view.apply(picture, self.size)), view

    def __repr__(self) -> str:
        draw, finish = (getattr(each, "__name__", type(each).__name__) for each in (self.draw, self.finish))
        return f"Crops({self.size}, draw={draw}, finish={finish})"


_GENERATOR = np.random.MT19937(0)  # which `seeded` seeds


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """Seed torch, numpy and Python from this generator within a context: for transforms that take no generator.

    Afterwards the three continue as if they had not been used.

    Example:
        >>> with seeded(np.random.default_rng(0)):
        ...     first = torch.rand(())
        >>> with seeded(np.random.default_rng(0)):
        ...     bool(torch.rand(()) == first)
        True
    """
    seed = int(rng.integers(2**31))
    states = torch.get_rng_state(), np.random.mtrand.get_bit_generator(), random.getstate()
    torch.default_generator.manual_seed(seed)
    # numpy gets another generator for the time: to copy the state of its own takes 0.15 ms, and to make one 0.2 ms.
    np.random.mtrand.set_bit_generator(np.random.MT19937(0) if states[1] is _GENERATOR else _GENERATOR)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.mtrand.set_bit_generator(states[1])
        random.setstate(states[2])
