"""Is a network worth compiling? It takes seconds in each worker, and saves a fraction of every picture's time."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch

from annotate.cores import usable_cores

# Compiling takes 6 to 28 s, and reduces the time on the CPU to 0.6 to 0.8: shorter jobs hardly gain.
_SECONDS_OF_EACH_WORKER = 300
_PICTURES_OF_EACH_GPU = 20_000


def can_compile() -> bool:
    """Whether this machine has what torch needs to compile: a C++ compiler, or a GPU, for which torch has its own."""
    return torch.cuda.is_available() or any(map(shutil.which, ("c++", "g++", "clang++")))


def compiled(dense: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network, compiled separately for each size of input, with its weights as constants."""
    import torch._inductor.config as inductor

    for parameter in dense.parameters():
        parameter.requires_grad_(False)
    network = torch.compile(dense, dynamic=False)

    def call(pixels: torch.Tensor) -> torch.Tensor:
        inductor.freezing = True  # here: each thread has its own settings, and any may call first
        return network(pixels)

    return call


def is_worth_compiling(pictures: int, seconds: Callable[[], float]) -> tuple[bool, str]:
    """Whether to compile for this many pictures, with a worker on each core or GPU; and why, in a sentence.

    Args:
        pictures: how many will be labelled.
        seconds: measures the seconds that one picture takes uncompiled, in one thread on the CPU.
    """
    if not can_compile():
        return False, "networks run uncompiled: there is no C++ compiler here, which would make them faster"
    if torch.cuda.is_available():
        enough = pictures / torch.cuda.device_count() >= _PICTURES_OF_EACH_GPU
    else:
        enough = pictures * seconds() / usable_cores() >= _SECONDS_OF_EACH_WORKER
    return enough, "each worker compiles its networks first" if enough else "networks run uncompiled: the job is short"
