"""How does a classifier label every location? Its own head answers there; how far from faithfully is measured.

    networks/locations.py gives each location to the head as a picture of its own
    annotate/model/heads/ has one file for each kind of head: what pools, and how a single location answers through it

Faithful is a head whose answers for the locations average to the network's own answer, at least with `frozen`.
Whether they do is measured (`consistency`), not read from the network's name.

    local    the logits of a picture that consists of this one location, or at whose location alone the head looks
    frozen   the head with its nonlinear layers, and its attention, held as for the whole picture, so that the mean of
             its logits is the network's own answer

A network with a head that was trained on its tokens (VOLO, LV-ViT: `aux_head`) answers through that head instead.
docs/annotators.md has the result for each family of timm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from annotate.errors import AnnotateError
from annotate.model.heads.choice import head_of
from annotate.model.heads.head import Unfaithful
from storage import Box
from storage.errors import explained

# Relative, in float32. Affine heads reach 1e-6; the best of the others, MobileNetV3's, 1e-2.
EXACT = 1e-4


@dataclass(frozen=True, slots=True)
class Consistency:
    """How close the mean of the dense logits is to the network's own answer.

    deviation: ‖mean over locations − own‖ / ‖own‖, both without their mean over classes, which softmax ignores;
        measured on noise, with features that differ strongly between locations. None for a head for tokens, which need
        not agree with the head for pictures, and for a network that gives its own map.
    rule: what the head classifies; see `Head`.
    """

    deviation: float | None
    rule: str = "mean"

    @property
    def exact(self) -> bool:
        """Whether the two are equal up to rounding."""
        return self.deviation is not None and self.deviation <= EXACT

    def __str__(self) -> str:
        """Return "exact", "approximate (24 %)", "token head", or for example "approximate (11 %) by class token"."""
        if self.deviation is None:
            return "token head" if self.rule == "mean" else self.rule
        how = "exact" if self.exact else f"approximate ({100 * self.deviation:.2g} %)"
        return how if self.rule == "mean" else f"{how} by {self.rule}"


class DenseClassifier(nn.Module):
    """A timm network whose own classifier answers at every location.

    Args:
        model: a network with timm's forward_features and forward_head; it is set to evaluation mode.
        name: its name in errors.
        head: "local" or "frozen"; see the top of this file.

    Raises:
        AnnotateError: the network has no faithful dense answer; the message says why.
    """

    model: Any  # a timm network: an nn.Module with forward_features and forward_head

    def __init__(self, model: nn.Module, name: str, head: Literal["local", "frozen"] = "local") -> None:
        super().__init__()
        self.model = model.eval()
        self.name = name
        self.head = head
        if getattr(model, "num_classes", 0) < 1:
            self._refuse("it has no classifier")
        if head not in ("local", "frozen"):
            raise AnnotateError(f"the head must be local or frozen, not {head!r}")
        with self._refusing():
            self._own = head_of(self.model)
        self._token_head = self._own.rule == "token head"
        if self._token_head and head == "frozen":
            self._refuse("it answers through a head for tokens, which has nothing to freeze. Use the local head")
        self._layout = self._own.layout

    @property
    def rule(self) -> str:
        """What its head classifies; see `Head`."""
        return self._own.rule

    @property
    def has_remainder(self) -> bool:
        """Whether it has classes without a name: the last ones of an encoder, its vocabulary's background."""
        return bool(getattr(self.model, "named_classes", self.model.num_classes) < self.model.num_classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The logits at each location: [b, h, w, classes] for normalised pixels [b, 3, H, W]."""
        return self._answer(*self._features(pixels))

    @torch.inference_mode()
    def consistency(self, input_size: tuple[int, int]) -> tuple[tuple[int, int], int, Consistency]:
        """Run the network both ways on noise of this size; return its grid, number of classes, and the difference.

        Raises:
            AnnotateError: the network does not take this input, or has no faithful dense answer.
        """
        try:
            noise = self._noise(input_size)
            features, grid = self._features(noise)
            if self._token_head:
                return grid, self._answer(features, grid).shape[3], Consistency(None)
            own: Any = self.model(noise)
            if not isinstance(own, torch.Tensor) or not own.isfinite().all():
                self._refuse("its own answer to noise is not one vector of finite logits")
            with self._refusing():
                if not _apart(self._own.whole(features), own) <= EXACT:
                    self._refuse("its own answer is not what its forward_head makes of its forward_features")
                # The last classes of an encoder with a vocabulary are its background, and have no name.
                named = getattr(self.model, "named_classes", own.shape[1])
                return grid, named, Consistency(self._deviation(features, grid), self._own.rule)
        except AnnotateError:
            raise
        except Exception as error:  # networks raise exceptions of many types on an input that does not fit
            raise AnnotateError(
                f"the model {self.name} does not answer on a {input_size[0]}x{input_size[1]} input: {error}"
                f"{_size_hint(self.model, input_size)}"
            ) from error

    def grid_box(self, input_size: tuple[int, int], grid: tuple[int, int]) -> Box:
        """The part of the input that the grid covers, in unit coordinates; each location lies over its pixels.

        The distance between locations is the network's stride; the input need not be a multiple of it. A network that
        pads each of its strided convolutions on both sides, as ResNet does, has its first location at the input's first
        pixel instead of half a stride from it: its grid lies half a stride further up and left than the input. One that
        pads at the end only, as TensorFlow does, has its grid half a stride further down and right. Which networks do
        so is measured: the gradient shows the pixels that the middle of the grid depends on.
        """
        steps = self.steps(input_size, grid)
        # A smaller input, which takes less time, has the same phase if its sides are multiples of the stride as well.
        small = [
            int(min(side, 8 * step)) if side % step == 0 else side for side, step in zip(input_size, steps, strict=True)
        ]
        try:
            found = self._phase((small[0], small[1]))
        except Exception:  # the network takes no other size, and raises exceptions of many types
            found = self._phase(input_size)
        phases = [away / step for step, away in zip(steps, found, strict=True)]
        phase = sum(phases) / 2  # equal for both sides, apart from the noise of the measurement
        edges = []
        for side, count, step, own in zip(input_size, grid, steps, phases, strict=True):
            if count < side // step:  # without padding: the pixels that are left over lie at the end
                away = round(4 * own) / 4 * step
            else:
                away = math.copysign(step / 2 - 0.5, phase) if abs(phase) > 0.25 else 0.0
            edges.append((0.5 + (away - count * step / 2) / side, 0.5 + (away + count * step / 2) / side))
        (top, bottom), (left, right) = edges
        return Box(top, left, bottom, right)

    def steps(self, input_size: tuple[int, int], grid: tuple[int, int]) -> tuple[float, float]:
        """The distance between locations, down and across, pixels: the stride, unless the feature map is stretched."""
        strides = [self._layout.stride or round(side / count) for side, count in zip(input_size, grid, strict=True)]
        down, across = (
            float(stride) if count <= -(-side // stride) else side / count
            for side, count, stride in zip(input_size, grid, strides, strict=True)
        )
        return down, across

    def _phase(self, input_size: tuple[int, int]) -> tuple[float, float]:
        """How far below and right of the input's middle the pixels are that the grid's middle depends on, in pixels."""
        pixels = self._noise(input_size, 4).requires_grad_()
        with torch.enable_grad():
            features, (h, w) = self._features(pixels)
            if min(h, w) < 2:
                return 0.0, 0.0  # a single location depends on the whole input
            locations = self._layout.each(features).reshape(len(pixels), h, w, -1)
            # An even number of locations has no middle one; the edges cut the two beside the middle symmetrically.
            middle = locations[:, [(h - 1) // 2, h // 2]][:, :, [(w - 1) // 2, w // 2]]
            towards = torch.randn(middle.shape, generator=torch.Generator().manual_seed(2)).to(middle)
            (gradient,) = torch.autograd.grad((middle * towards).sum(), pixels)
        energy = gradient.square().sum((0, 1)).double()
        energy = (energy - energy.median()).clamp_min(0)  # without what all locations depend on equally
        y, x = (torch.arange(side, dtype=torch.float64).to(energy) + 0.5 - side / 2 for side in input_size)
        total = energy.sum().clamp_min(1e-300)
        return float((energy.sum(1) * y).sum() / total), float((energy.sum(0) * x).sum() / total)

    def _deviation(self, features: torch.Tensor, grid: tuple[int, int]) -> float:
        """How far the mean of the dense answer is from the head's own; refuses a head that does not classify a mean."""
        # The features of noise may differ so little between locations that any pooling resembles a mean.
        generator = torch.Generator().manual_seed(1)
        features = features + features.std() * torch.randn(features.shape, generator=generator).to(features)
        own, of_mean = self._own.whole(features), self._own.of_mean(features)
        pooled = math.inf if of_mean is None else _apart(of_mean, own)
        local, frozen = (_apart(ask(features, grid).mean((1, 2)), own) for ask in (self._own.local, self._own.frozen))
        # A head with layers before its pooling classifies the mean of their outputs, which only `frozen` shows.
        if not min(pooled, frozen) <= EXACT:
            self._refuse(
                f"it does not classify the mean over its locations (the two differ by {100 * pooled:.2g} %), so its "
                "head was never trained on a single location. Use a network with average pooling"
                if of_mean is not None
                else f"with attention, norms and activations held, what its {self._own.rule} gets from the locations "
                f"does not average to its own answer (the two differ by {100 * frozen:.2g} %). Use another network"
            )
        if self.head == "frozen" and not frozen <= EXACT:
            self._refuse(
                "its head has a nonlinear layer that is neither a known activation nor a norm over channels, and "
                f"cannot be frozen (the two differ by {100 * frozen:.2g} %). Use the local head"
            )
        return frozen if self.head == "frozen" else local

    def _noise(self, size: tuple[int, int], count: int = 2) -> torch.Tensor:
        """Noise [n, 3, H, W] at two scales, always the same, on the network's device and of its type."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randn(count, 3, 4, 4, generator=generator)
        noise = nn.functional.interpolate(coarse, size=size, mode="bilinear")
        return (noise + 0.5 * torch.randn(count, 3, *size, generator=generator)).to(next(self.model.parameters()))

    def _features(self, pixels: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """The features of the locations, as the network's head takes them; and the grid that they form."""
        try:
            features = self._own.features(pixels)
        except Unfaithful as error:
            return self._refuse(str(error))
        try:
            return features, self._layout.grid(features, (pixels.shape[2], pixels.shape[3]))
        except ValueError as error:
            return self._refuse(str(error))

    def _answer(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        try:
            return (self._own.frozen if self.head == "frozen" else self._own.local)(features, grid)
        except Unfaithful as error:
            return self._refuse(str(error))

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Name the network in the reason why its head has no faithful answer."""
        try:
            yield
        except Unfaithful as error:
            self._refuse(str(error))

    def _refuse(self, why: str) -> Any:
        answer = "frozen" if self.head == "frozen" else "dense"
        error = AnnotateError(f"the model {self.name} has no faithful {answer} answer: {why}.")
        raise explained(error, "annotators.md#every-family-of-timm")


def _size_hint(model: Any, given: tuple[int, int]) -> str:
    """What to give for another input size, as far as timm says it; with a leading space."""
    config = getattr(model, "pretrained_cfg", None) or {}
    if config.get("fixed_input_size") and config.get("input_size"):
        height, width = config["input_size"][1:]
        size = str(given[0]) if given[0] == given[1] else f"{given}".replace(" ", "")
        return (
            f". Its input has a fixed size, {height}x{width} unless said otherwise: leave --input-size and --scales "
            f"out, or make the network for this size with --model-kwarg img_size={size}"
        )
    if smallest := config.get("min_input_size"):
        return f". Its input must be at least {smallest[1]}x{smallest[2]}"
    return ". Try a multiple of 32, or leave --input-size out"


def _apart(logits: torch.Tensor, own: torch.Tensor) -> float:
    """The relative distance of logits from the network's own, both without the mean over classes."""
    logits, own = (x - x.mean(-1, keepdim=True) for x in (logits, own))
    return float((logits - own).norm() / own.norm().clamp_min(1e-12))
