"""What must a head do? Answer for the whole picture, and at each location, in two ways."""

from __future__ import annotations

from typing import Protocol

import torch

from networks.locations import Locations


class Unfaithful(Exception):  # noqa: N818 - it is a verdict on a network, and becomes an AnnotateError
    """A network has no faithful dense answer; the text says why, as part of a sentence."""


class Head(Protocol):
    """How a network's head makes its answer, and how each location answers through it.

    The mean over locations of `frozen` is `whole`, up to rounding: `DenseClassifier` measures it before a job.

    rule:   what the head classifies: "mean", "token head", "query", "class token" or "class token and mean"
    layout: where the locations are in the features
    """

    rule: str
    layout: Locations

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the head starts from: tokens [b, prefix + N, C] or a map, for normalised pixels [b, 3, H, W]."""

    def whole(self, features: torch.Tensor) -> torch.Tensor:
        """The network's own logits for the whole picture, [b, classes]."""

    def of_mean(self, features: torch.Tensor) -> torch.Tensor | None:
        """The logits for the mean of the locations, [b, classes]; None where the head classifies something else."""

    def local(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """The logits of a picture that consists of each location alone, [b, h, w, classes]."""

    def frozen(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """The logits with attention, norms and activations held as for the whole picture, [b, h, w, classes]."""
