"""Can the numbers of a tensor be looked at now, to check them?"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode


def can_be_read(numbers: torch.Tensor) -> bool:
    """Whether a tensor has numbers that can be checked now.

    Not on a GPU, where a check would wait for all work before it; nor while a graph is compiled or traced, which it
    would break, or under `torch.func`, whose tensors have no values.
    """
    traced = torch.compiler.is_compiling() or _get_current_dispatch_mode() is not None
    transformed = torch._C._are_functorch_transforms_active()
    return numbers.is_cpu and numbers.numel() > 0 and not (traced or transformed)
