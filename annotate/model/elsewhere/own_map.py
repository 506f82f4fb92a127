"""Is what a function of the user's gave a map, and the same kind of map each time? Each batch is checked."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from annotate.errors import AnnotateError
from annotate.model.dense import Consistency
from annotate.model.elsewhere.own_function import DenseNetwork
from storage import Box

_MORE_THAN_ONE = 1e-3  # by how much probabilities may add up to more than 1, as bfloat16 has them
_TINY = 1e-30


class OwnMap:
    """A `DenseNetwork` with the members that `Annotator` needs of a `DenseClassifier`.

    Its answer is logits. For probabilities these are logarithms, with one class more, last, for what is missing to 1.

    Raises:
        AnnotateError: what came back is no map of the classes that it names.
    """

    def __init__(self, made: DenseNetwork, name: str) -> None:
        self.made: Any = made.eval() if isinstance(made, nn.Module) else made
        self.name = name
        self.has_remainder = made.gives == "probabilities"
        self._shape: dict[tuple[int, int], tuple[int, ...]] = {}  # of the answer, by the input's size

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits [b, h, w, classes], or one class more, for normalised pixels [b, 3, H, W]."""
        answer = self._asked(pixels)
        if not self.has_remainder:
            return answer
        rest = (1 - answer.sum(-1, keepdim=True)).clamp_min(0)
        return torch.cat([answer, rest], -1).clamp_min(_TINY).log()

    def consistency(self, input_size: tuple[int, int]) -> tuple[tuple[int, int], int, Consistency]:
        """Ask twice, for two pictures and for one; return the grid and the number of classes.

        Raises:
            AnnotateError: an answer is not what `DenseNetwork` says, or has NaN.
        """
        pixels = torch.rand(2, 3, *input_size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            for count in (2, 1):
                answer = self._asked(pixels[:count])
                if not answer.isfinite().all():
                    raise AnnotateError(f"{self.name} gives NaN or infinity for noise; expected finite numbers")
                low, high, most = float(answer.min()), float(answer.max()), float(answer.sum(-1).max())
                if self.has_remainder and not (low >= -_MORE_THAN_ONE and most <= 1 + _MORE_THAN_ONE):
                    raise AnnotateError(
                        f"{self.name} says that it gives probabilities, and gave numbers from {low:.3g} to {high:.3g} "
                        f'that add up to {most:.3g} at one location; if they are logits, set gives = "logits"'
                    )
        _, h, w, classes = answer.shape
        return (h, w), classes, Consistency(None, "own map")

    def grid_box(self, input_size: tuple[int, int], grid: tuple[int, int]) -> Box:
        """The part of the input that the map covers, as the network says."""
        box: Box = getattr(self.made, "box", Box.whole())
        return box

    def steps(self, input_size: tuple[int, int], grid: tuple[int, int]) -> tuple[float, float]:
        """The distance between locations, down and across, pixels."""
        box = self.grid_box(input_size, grid)
        return box.height * input_size[0] / grid[0], box.width * input_size[1] / grid[1]

    def to(self, device: torch.device) -> OwnMap:
        """Move what was made, if it can be moved, to a device."""
        if hasattr(self.made, "to"):
            self.made = self.made.to(device)
        return self

    def _asked(self, pixels: torch.Tensor) -> torch.Tensor:
        """What it gives, in float32, if that is a map."""
        try:
            answer = self.made(pixels)
        except Exception as error:  # it is the user's own code
            raise AnnotateError(
                f"{self.name} failed on pixels {list(pixels.shape)}: {type(error).__name__}: {error}"
            ) from error
        self._check(answer, pixels)
        checked: torch.Tensor = answer.float()
        return checked

    def _check(self, answer: Any, pixels: torch.Tensor) -> None:
        classes, size = len(self.made.class_names), (pixels.shape[2], pixels.shape[3])
        expected = f"expected a floating-point tensor [{len(pixels)}, h, w, {classes}]"
        if not isinstance(answer, torch.Tensor):
            raise AnnotateError(f"{self.name} gave {type(answer).__name__} for {len(pixels)} pictures; {expected}")
        found = f"{self.name} gave {answer.dtype} {list(answer.shape)} for {len(pixels)} pictures"
        if answer.ndim != 4 or not answer.is_floating_point() or len(answer) != len(pixels):
            raise AnnotateError(f"{found}; {expected}")
        if answer.shape[3] != classes:
            hint = ". If its classes come second, give answer.permute(0, 2, 3, 1)" * (answer.shape[1] == classes)
            raise AnnotateError(f"{found}; {expected}, since class_names has {classes} names{hint}")
        first = self._shape.setdefault(size, tuple(answer.shape[1:]))
        if tuple(answer.shape[1:]) != first:
            raise AnnotateError(f"{found}; for an earlier batch it gave [b, {', '.join(map(str, first))}]")
