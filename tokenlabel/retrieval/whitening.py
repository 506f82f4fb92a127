"""How do descriptors get shorter and less correlated? By PCA, fitted on descriptors, with or without whitening."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import normalize

from tokenlabel.errors import LabelError


class Whitening(nn.Module):
    """Descriptors [n, D] -> descriptors [n, d] of unit length: (z − mean) P, and normalised again.

    Args:
        mean: float [D].
        projection: float [D, d].
    """

    mean: torch.Tensor
    projection: torch.Tensor

    def __init__(self, mean: torch.Tensor, projection: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("projection", projection)

    @classmethod
    def fit(cls, descriptors: torch.Tensor, width: int, *, whiten: bool = True) -> Whitening:
        """The directions in which these descriptors vary most, computed in float64.

        Args:
            descriptors: float [n, D], of training pictures.
            width: d, at most D and n − 1.
            whiten: whether each direction gets a variance of 1; otherwise it is PCA alone, as the paper's 128 are.

        Raises:
            LabelError: the descriptors do not vary in so many directions.
        """
        z = descriptors.double()
        mean = z.mean(0)
        count = max(len(z) - 1, 1)
        variances, directions = torch.linalg.eigh((z - mean).T @ (z - mean) / count)
        variances, directions = variances.flip(0), directions.flip(1)
        rank = int((variances > variances[0].clamp(min=0) * 1e-10).sum())
        if not 1 <= width <= rank:
            raise LabelError(
                f"{len(z)} descriptors of width {z.shape[1]} vary in {rank} directions, of which {width} cannot be "
                "taken; give a smaller width, or fit it on more pictures"
            )
        projection = directions[:, :width]
        if whiten:
            projection = projection / variances[:width].sqrt()
        return cls(mean.float(), projection.float())

    def forward(self, descriptors: torch.Tensor) -> torch.Tensor:
        """The shorter descriptors."""
        with torch.autocast(descriptors.device.type, enabled=False):
            return normalize((descriptors.float() - self.mean) @ self.projection, dim=1)

    def extra_repr(self) -> str:
        """Its widths, for its repr."""
        return f"{self.projection.shape[0]} -> {self.projection.shape[1]}"
