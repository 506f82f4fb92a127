"""Where does this process stand among those that train together?"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from timm import utils
from torch import distributed


@dataclass(slots=True)
class Place:
    """Where this process stands among those that train together."""

    device: torch.device
    rank: int
    processes: int

    @classmethod
    def here(cls, device: str) -> Place:
        """As torchrun or Slurm have told, or alone."""
        told = SimpleNamespace(device=device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(utils.init_distributed_device(told), told.rank, told.world_size)

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.processes > 1:
            distributed.all_reduce(values)
        return values
