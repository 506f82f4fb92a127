"""How does a classifier answer at every location? Each location is shown to the network's own head as a 1x1 picture.

    pixels ──forward_features──▶ [b, C, h, w] ──▶ [b·h·w, C, 1, 1] ──forward_head──▶ [b, h, w, classes]

Pooling a 1x1 map changes nothing, so the head runs as it stands, with every norm, layer and activation that it has, and
no family of networks needs code of its own. But only a head that answers for the mean over locations was trained on
what it is shown here; whether it does is not taken from the network's name, it is measured (`consistency`).

    local    the head as it stands: what a picture of this one location would be given
    frozen   the head with its gates held as for the whole picture (annotate/gates.py): its answers add up

A network with a head that was trained on its tokens (VOLO, LV-ViT: `aux_head`) is asked through that one instead.
docs/annotators.md says what comes of it for each family of timm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from timm.layers import AttentionPool2d, AttentionPoolLatent, AttentionPoolPrr, RotAttentionPool2d
from torch import nn

from annotate.errors import AnnotateError
from annotate.gates import Gates
from storage import Box

# Relative, in float32. Affine heads come to 1e-6; the least of the others, MobileNetV3's, to 1e-2.
EXACT = 1e-4
_ATTENTION_POOLS = (AttentionPool2d, AttentionPoolLatent, AttentionPoolPrr, RotAttentionPool2d)


@dataclass(frozen=True, slots=True)
class Consistency:
    """Whether the mean of the dense logits is the network's own answer.

    deviation: ‖mean over locations − own‖ / ‖own‖, both without their mean over classes, which softmax ignores; for
        features that vary from place to place as much as those of noise vary at all. None where a head for tokens
        answers, which need not agree with that for pictures.
    """

    deviation: float | None

    @property
    def exact(self) -> bool:
        """The two are equal but for rounding."""
        return self.deviation is not None and self.deviation <= EXACT

    def __str__(self) -> str:
        """Read "exact", "approximate (24 %)" or "token head"."""
        if self.deviation is None:
            return "token head"
        return "exact" if self.exact else f"approximate ({100 * self.deviation:.2g} %)"


class DenseClassifier(nn.Module):
    """A timm network whose own classifier answers at every location.

    Args:
        model: a network with timm's forward_features and forward_head; it is set to evaluation mode.
        name: what to call it in errors.
        head: "local" or "frozen"; see above.

    Raises:
        AnnotateError: the network has no faithful dense answer; the message has the reason.
    """

    model: Any  # a timm network: an nn.Module with forward_features and forward_head

    def __init__(self, model: nn.Module, name: str, head: Literal["local", "frozen"] = "local") -> None:
        super().__init__()
        self.model = model.eval()
        self.name = name
        self.head = head
        if getattr(model, "num_classes", 0) < 1:
            self._refuse("it has no classifier")
        self._token_head = isinstance(getattr(model, "aux_head", None), nn.Linear)
        if head not in ("local", "frozen"):
            raise AnnotateError(f"the head must be local or frozen, not {head!r}")
        if self._token_head and head == "frozen":
            self._refuse("it answers through a head for tokens, which has nothing to freeze. Use the local head")
        if not self._token_head and (why := _other_pooling(model)):
            self._refuse(f"{why}. Use a network with average pooling")
        self._channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        # Tokens that are no places (class, registers) come first; the head drops as many before it pools.
        self._others: int = getattr(model, "num_prefix_tokens", int(getattr(model, "cls_token", None) is not None))
        stages = getattr(model, "feature_info", None)
        self._stride: int | None = stages[-1]["reduction"] if stages else None  # pixels from token to token
        self._gates = Gates(model)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The logits at each location: [b, h, w, classes] for normalised pixels [b, 3, H, W]."""
        return self._answer(*self._features(pixels))

    @torch.inference_mode()
    def consistency(self, input_size: tuple[int, int]) -> tuple[tuple[int, int], int, Consistency]:
        """Ask the network both ways about noise of this size: its grid, its number of classes, and how far they differ.

        Raises:
            AnnotateError: the network does not take this input, or has no faithful dense answer.
        """
        try:
            noise = self._noise(input_size)
            features, grid = self._features(noise)
            if self._token_head:
                return grid, self._local(features, grid).shape[3], Consistency(None)
            own: Any = self.model(noise)
            if not isinstance(own, torch.Tensor) or not own.isfinite().all():
                self._refuse("its own answer to noise is not one vector of finite logits")
            if not _apart(self._head(features), own) <= EXACT:
                self._refuse("its own answer is not what its forward_head makes of its forward_features")
            return grid, own.shape[1], Consistency(self._deviation(features, grid))
        except AnnotateError:
            raise
        except Exception as error:  # networks check their input with whatever they like
            raise AnnotateError(
                f"the model {self.name} does not answer on a {input_size[0]}x{input_size[1]} input: {error}"
            ) from error

    def grid_box(self, input_size: tuple[int, int], grid: tuple[int, int]) -> Box:
        """Where the grid lies, in unit coordinates of the input: its cells about the places that they look at.

        Cells are as far apart as the network's stride, and the input may be no multiple of it. A network that pads each
        of its strided convolutions on both sides, as ResNet does, has its first location at the input's first pixel,
        and not half a stride from it: its grid lies half a cell further up and left than the input; and down and right
        if it pads at the end only, as TensorFlow does. Which networks do so is measured, by the place of the pixels
        that the middle of the grid answers to.
        """
        steps = self.steps(input_size, grid)
        # A network's phase is the same for a smaller input, if that is a multiple of its stride, too.
        small = [
            int(min(side, 8 * step)) if side % step == 0 else side for side, step in zip(input_size, steps, strict=True)
        ]
        try:
            found = self._phase((small[0], small[1]))
        except Exception:  # it takes no other size, and may say so in any way
            found = self._phase(input_size)
        phases = [away / step for step, away in zip(steps, found, strict=True)]
        phase = sum(phases) / 2  # it is the same for both, but for what noise does to the measurement
        edges = []
        for side, count, step, own in zip(input_size, grid, steps, phases, strict=True):
            if count < side // step:  # without padding: what is left over lies at the end
                away = round(4 * own) / 4 * step
            else:
                away = math.copysign(step / 2 - 0.5, phase) if abs(phase) > 0.25 else 0.0
            edges.append((0.5 + (away - count * step / 2) / side, 0.5 + (away + count * step / 2) / side))
        (top, bottom), (left, right) = edges
        return Box(top, left, bottom, right)

    def steps(self, input_size: tuple[int, int], grid: tuple[int, int]) -> tuple[float, float]:
        """How far it is from location to location, down and across, pixels: the stride, unless the map is stretched."""
        strides = [self._stride or round(side / count) for side, count in zip(input_size, grid, strict=True)]
        down, across = (
            float(stride) if count <= -(-side // stride) else side / count
            for side, count, stride in zip(input_size, grid, strides, strict=True)
        )
        return down, across

    def _phase(self, input_size: tuple[int, int]) -> tuple[float, float]:
        """How far below and right of the input's middle that lies which the grid's middle answers to, pixels."""
        pixels = self._noise(input_size, 4).requires_grad_()
        with torch.enable_grad():
            features, (h, w) = self._features(pixels)
            if min(h, w) < 2:
                return 0.0, 0.0  # a single location looks at all
            places = self._locations(features).reshape(len(pixels), h, w, -1)
            # Of an even number of cells none is in the middle; of both beside it, what the edges cut off is cut evenly.
            middle = places[:, [(h - 1) // 2, h // 2]][:, :, [(w - 1) // 2, w // 2]]
            towards = torch.randn(middle.shape, generator=torch.Generator().manual_seed(2)).to(middle)
            (gradient,) = torch.autograd.grad((middle * towards).sum(), pixels)
        energy = gradient.square().sum((0, 1)).double()
        energy = (energy - energy.median()).clamp_min(0)  # what the whole picture does to all places says nothing
        y, x = (torch.arange(side, dtype=torch.float64).to(energy) + 0.5 - side / 2 for side in input_size)
        total = energy.sum().clamp_min(1e-300)
        return float((energy.sum(1) * y).sum() / total), float((energy.sum(0) * x).sum() / total)

    def _deviation(self, features: torch.Tensor, grid: tuple[int, int]) -> float:
        """How far the mean of the dense answer is from the head's own; refuses a head that is not for a mean."""
        # From place to place the features of noise may differ so little that any pooling looks like a mean.
        generator = torch.Generator().manual_seed(1)
        features = features + features.std() * torch.randn(features.shape, generator=generator).to(features)
        own, locations = self._head(features), self._locations(features)
        pooled = _apart(self._head(locations.unflatten(0, (len(features), -1)).mean(1)), own)
        local, frozen = (_apart(answer(features, grid).mean((1, 2)), own) for answer in (self._local, self._frozen))
        # A head that has layers before its pooling answers for the mean of what they make of the locations.
        if not min(pooled, frozen) <= EXACT:
            self._refuse(
                f"it does not answer for the mean over its locations (the two are {100 * pooled:.2g} % apart), so that "
                "its head was never trained on what a single one looks like. Use a network with average pooling"
            )
        if self.head == "frozen" and not frozen <= EXACT:
            self._refuse(
                "its head bends in a layer that is neither a known activation nor a norm over channels, and cannot be "
                f"held (the two are {100 * frozen:.2g} % apart). Use the local head"
            )
        return frozen if self.head == "frozen" else local

    def _noise(self, size: tuple[int, int], count: int = 2) -> torch.Tensor:
        """Pictures [n, 3, H, W] of noise at two scales, always the same, where the network is and of its type."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randn(count, 3, 4, 4, generator=generator)
        noise = nn.functional.interpolate(coarse, size=size, mode="bilinear")
        return (noise + 0.5 * torch.randn(count, 3, *size, generator=generator)).to(next(self.model.parameters()))

    def _features(self, pixels: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """What the network knows of the locations, as its head takes it; and the grid that they form."""
        features: Any = self.model.forward_features(pixels)
        if not isinstance(features, torch.Tensor):
            self._refuse("it answers from several sets of features, and not from one map")
        if features.ndim == 4:
            return features, tuple(features.shape[1:3] if self._channels_last else features.shape[2:])
        if features.ndim != 3:
            self._refuse(f"its forward_features gives {features.ndim} axes, not a map or tokens")
        n, size = features.shape[1] - self._others, pixels.shape[2:]
        stride = self._stride or math.isqrt(size[0] * size[1] // max(n, 1))
        # Some networks pad what is left at the edge, others leave it out.
        for h, w in ([-(-side // stride) for side in size], [side // stride for side in size]):
            if h * w == n:
                return features, (h, w)
        return self._refuse(f"its {n} tokens form no grid of cells of {stride}x{stride} pixels")

    def _locations(self, features: torch.Tensor) -> torch.Tensor:
        """Each location as a picture of its own, row by row: [b·h·w, C, 1, 1], or [b·h·w, 1, 1, C], or tokens."""
        if features.ndim == 3:
            places = features[:, self._others :].flatten(0, 1)
            return places[:, None].repeat(1, self._others + 1, 1)
        if self._channels_last:
            return features.flatten(0, 2)[:, None, None]
        return features.permute(0, 2, 3, 1).flatten(0, 2)[:, :, None, None]

    def _answer(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        return (self._frozen if self.head == "frozen" else self._local)(features, grid)

    def _local(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        if self._token_head:
            tokens: torch.Tensor = self.model.aux_head(features[:, self._others :])
            return tokens.unflatten(1, grid)
        return self._head(self._locations(features)).reshape(len(features), *grid, -1)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _frozen(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        locations = self._locations(features)
        _, seen = self._gates.record(lambda: self._head(features))
        logits = self._gates.hold(seen, grid[0] * grid[1], lambda: self._head(locations))
        return logits.reshape(len(features), *grid, -1)

    def _head(self, features: torch.Tensor) -> torch.Tensor:
        answer: Any = self.model.forward_head(features)
        if not isinstance(answer, torch.Tensor) or answer.ndim != 2:
            self._refuse("its forward_head gives more than one vector of logits")
        logits: torch.Tensor = answer
        return logits

    def _refuse(self, why: str) -> Any:
        answer = "frozen" if self.head == "frozen" else "dense"
        raise AnnotateError(f"the model {self.name} has no faithful {answer} answer: {why}.")


def _other_pooling(model: Any) -> str | None:
    """Why a network does not pool by the mean, as far as that can be read off it."""
    if any(isinstance(module, _ATTENTION_POOLS) for module in model.modules()):
        return "it pools by attention, and its head was never trained on single locations"
    for owner in (model, getattr(model, "head", None)):
        pool = getattr(owner, "global_pool", None)
        pool = getattr(pool, "pool_type", pool)
        if pool == "token":
            return "it classifies by its class token, and its head was never trained on patch tokens"
        if pool in ("max", "avgmax", "catavgmax"):
            return f"it pools by {pool!r}, which is no mean over locations"
    return None


def _apart(logits: torch.Tensor, own: torch.Tensor) -> float:
    """How far logits are from the network's own, relative to these, without the mean over classes."""
    logits, own = (x - x.mean(-1, keepdim=True) for x in (logits, own))
    return float((logits - own).norm() / own.norm().clamp_min(1e-12))
