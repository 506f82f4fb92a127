"""How does a classifier answer at every location? Each location is shown to the network's own head as a 1x1 picture.

    pixels ──forward_features──▶ [b, C, h, w] ──▶ [b·h·w, C, 1, 1] ──forward_head──▶ [b, h, w, classes]

Pooling a 1x1 map changes nothing, so the head runs as it stands, with every norm, layer and activation that it has, and
no family of networks needs code of its own. Where everything after the pooling is affine, the mean of the dense logits
over the locations is the network's own answer exactly; where it is not, it is measured how far the two are apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from annotate.errors import AnnotateError

# Relative, in float32. Affine heads come to 1e-6; the least of the others, MobileNetV3's, to 1e-2.
EXACT = 1e-4


@dataclass(frozen=True, slots=True)
class Consistency:
    """How far the mean of the dense logits is from the network's own logits, on noise.

    deviation: ‖mean over locations − own‖ / ‖own‖, both without their mean over classes, which softmax ignores.
    """

    deviation: float

    @property
    def exact(self) -> bool:
        """The two are equal but for rounding."""
        return self.deviation <= EXACT

    def __str__(self) -> str:
        """Read "exact" or "approximate (24 %)"."""
        return "exact" if self.exact else f"approximate ({100 * self.deviation:.2g} %)"


class DenseClassifier(nn.Module):
    """A timm network whose own classifier answers at every location.

    Raises:
        AnnotateError: the network has no faithful dense answer; the message has the reason.
    """

    model: Any  # a timm network: an nn.Module with forward_features and forward_head

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model = model.eval()
        self.name = name
        pool = getattr(model, "global_pool", None)
        if pool in ("token", "map", "max", "avgmax", "catavgmax", "prr"):
            why = {
                "token": "it classifies by its class token, and its head was never trained on patch tokens",
                "map": "it pools by attention, and its head was never trained on single tokens",
            }.get(pool, f"it pools by {pool!r}, which is no mean over locations")
            self._refuse(why + ". Use a network with average pooling")
        if getattr(model, "num_classes", 0) < 1:
            self._refuse("it has no classifier")

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The logits at each location: [b, h, w, classes] for normalised pixels [b, 3, H, W]."""
        features = self.model.forward_features(pixels)
        if not isinstance(features, torch.Tensor):
            self._refuse(f"its forward_features gives a {type(features).__name__}, not one map")
        if features.ndim == 4:
            return self._from_map(features)
        if features.ndim == 3:
            return self._from_tokens(features)
        return self._refuse(f"its forward_features gives {features.ndim} axes, not a map or tokens")

    def _from_map(self, features: torch.Tensor) -> torch.Tensor:
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            b, h, w, channels = features.shape
            locations = features.reshape(b * h * w, 1, 1, channels)
        else:
            b, channels, h, w = features.shape
            locations = features.permute(0, 2, 3, 1).reshape(b * h * w, channels, 1, 1)
        return self._head(locations).reshape(b, h, w, -1)

    def _from_tokens(self, features: torch.Tensor) -> torch.Tensor:
        # Tokens that are no places (class, registers) come first; the head drops as many before it pools.
        others: int = getattr(self.model, "num_prefix_tokens", 0)
        b, n, channels = features.shape
        h, w = getattr(getattr(self.model, "patch_embed", None), "grid_size", (0, 0))
        if h * w != n - others:
            self._refuse(f"its {n - others} tokens form no known grid")
        places = features[:, others:].reshape(b * h * w, 1, channels)
        return self._head(places.repeat(1, others + 1, 1)).reshape(b, h, w, -1)

    def _head(self, locations: torch.Tensor) -> torch.Tensor:
        answer: Any = self.model.forward_head(locations)
        if not isinstance(answer, torch.Tensor) or answer.ndim != 2:
            self._refuse("its forward_head gives more than one vector of logits")
        logits: torch.Tensor = answer
        return logits

    def _refuse(self, why: str) -> Any:
        raise AnnotateError(f"the model {self.name} has no faithful dense answer: {why}.")

    @torch.inference_mode()
    def consistency(self, input_size: tuple[int, int]) -> tuple[tuple[int, int], int, Consistency]:
        """Ask the network both ways on noise of this size: the grid, the number of classes, and how far apart they are.

        Raises:
            AnnotateError: the network does not take this input, or has no faithful dense answer.
        """
        # Noise at two scales, from a generator of its own: features must differ from place to place.
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randn(2, 3, 4, 4, generator=generator)
        noise = nn.functional.interpolate(coarse, size=input_size, mode="bilinear")
        noise = noise + 0.5 * torch.randn(2, 3, *input_size, generator=generator)
        try:
            dense, own = self(noise), self.model(noise)
        except AnnotateError:
            raise
        except Exception as error:  # networks check their input with whatever they like
            raise AnnotateError(
                f"the model {self.name} does not answer on a {input_size[0]}x{input_size[1]} input: {error}"
            ) from error
        mean = dense.mean((1, 2))
        mean, own = (logits - logits.mean(-1, keepdim=True) for logits in (mean, own))
        deviation = float((mean - own).norm() / own.norm().clamp_min(1e-12))
        if not deviation < 1:
            self._refuse(f"the mean over its locations is off its own answer by {100 * deviation:.0f} %")
        return (dense.shape[1], dense.shape[2]), dense.shape[3], Consistency(deviation)
