"""With whom is a batch compared besides itself? With descriptors of earlier batches (XBM, arXiv 1912.06798).

Descriptors of earlier batches are out of date, but slowly: an encoder whose weights are a moving average of the
network's (`timm.utils.ModelEmaV3`, decay 0.999) makes entries that change more slowly yet.
"""

from __future__ import annotations

import torch
from torch import nn

from tokenlabel.errors import LabelError


class CrossBatchMemory(nn.Module):
    """The last descriptors, who they are, and of which pictures: a ring that moves with `.to` and is saved as weights.

    Add a batch after its loss was computed, so that it meets only earlier ones. A picture that comes again still meets
    its own earlier descriptor: `indices` say which pairs are one picture.

    Args:
        size: entries.
        width: of a descriptor.
        class_count: None where identities are class numbers; C where they are distributions over C classes.

    Raises:
        LabelError: a size below 1.
    """

    descriptors: torch.Tensor
    identities: torch.Tensor
    indices: torch.Tensor
    added: torch.Tensor

    def __init__(self, size: int, width: int, *, class_count: int | None = None) -> None:
        super().__init__()
        if size < 1:
            raise LabelError(f"a memory has at least one entry, not {size}; leave it out for the batch alone")
        self.size = size
        self.register_buffer("descriptors", torch.zeros(size, width))
        of_class = torch.zeros(size, dtype=torch.int64)
        self.register_buffer("identities", of_class if class_count is None else torch.zeros(size, class_count))
        self.register_buffer("indices", torch.full((size,), -1))
        self.register_buffer("added", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def add(self, descriptors: torch.Tensor, identities: torch.Tensor, indices: torch.Tensor) -> None:
        """Take in a batch, in place of the oldest entries.

        Args:
            descriptors: float [n, d].
            identities: int64 [n], or float [n, C].
            indices: int64 [n], of their pictures.
        """
        at = (int(self.added) + torch.arange(len(indices), device=indices.device)) % self.size
        last = slice(-self.size, None)  # of a batch larger than the memory
        self.descriptors[at[last]] = descriptors[last].to(self.descriptors.dtype)
        self.identities[at[last]] = identities[last].to(self.identities.dtype)
        self.indices[at[last]] = indices[last]
        self.added += len(indices)

    def contents(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Descriptors [m, d], identities [m] or [m, C], and indices [m], without gradients; m grows up to the size."""
        filled = slice(len(self))
        return self.descriptors[filled].clone(), self.identities[filled], self.indices[filled]

    def __len__(self) -> int:
        """Entries."""
        return min(int(self.added), self.size)

    def extra_repr(self) -> str:
        """Its entries and its size, for its repr."""
        return f"{len(self)} of {self.size} entries"
