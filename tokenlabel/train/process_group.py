"""Which processes train together, and which of them is this one?"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from timm import utils
from torch import distributed


@dataclass(slots=True)
class ProcessGroup:
    """The processes that train together.

    device:    of this process
    rank:      its number among them; 0 is the one that writes
    processes: how many there are
    """

    device: torch.device
    rank: int
    processes: int

    @classmethod
    def here(cls, device: str) -> ProcessGroup:
        """As the environment of torchrun or Slurm says; without them, this process alone."""
        given = SimpleNamespace(device=device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(utils.init_distributed_device(given), given.rank, given.world_size)

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.processes > 1:
            distributed.all_reduce(values)
        return values
