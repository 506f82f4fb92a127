"""Which processes train together, and which of them is this one?"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from timm import utils
from torch import distributed

from tokenlabel.errors import LabelError


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
        """As the environment of torchrun or Slurm says; without them, this process alone.

        Args:
            device: of torch's: "cuda", "mps", "xpu", "cpu"; empty for the accelerator of this machine, if it has one.

        Raises:
            LabelError: torch knows no such device, or this machine has none.
        """
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        kind = device.partition(":")[0]
        if kind not in ("", "cpu", "" if accelerator is None else accelerator.type):
            has = "the CPU alone" if accelerator is None else f"cpu and {accelerator.type}"
            raise LabelError(f"--device {device} cannot be used: torch finds {has}; leave it out to take what there is")
        given = SimpleNamespace(device=device or ("cpu" if accelerator is None else accelerator.type))
        return cls(utils.init_distributed_device(given), given.rank, given.world_size)

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.processes > 1:
            distributed.all_reduce(values)
        return values
