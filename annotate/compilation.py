"""Does compiling a network pay? It takes a while in each worker, and saves a part of every picture's time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import torch

# Compiling takes 6 to 28 s, and leaves 0.6 to 0.8 of the time on the CPU: below these, it is hardly won back.
_SECONDS_OF_EACH_WORKER = 300
_PICTURES_OF_EACH_GPU = 20_000


def can_compile() -> bool:
    """Whether this machine has what torch needs to compile: a C++ compiler, or for a GPU its own."""
    return torch.cuda.is_available() or any(map(shutil.which, ("c++", "g++", "clang++")))


def compiled(dense: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network compiled for each size of input, with its weights as constants."""
    import torch._inductor.config as inductor

    inductor.freezing = True  # read when the first batch compiles it
    for parameter in dense.parameters():
        parameter.requires_grad_(False)
    return torch.compile(dense, dynamic=False)


def pays(pictures: int, seconds: Callable[[], float]) -> tuple[bool, str]:
    """Whether to compile for so many pictures, with a worker on each core or GPU; and a sentence on it for a person.

    Args:
        pictures: to be labelled.
        seconds: measures what a picture takes in one thread on the CPU, uncompiled.
    """
    if not can_compile():
        return False, "networks run uncompiled: there is no C++ compiler, with which they would be quicker"
    if torch.cuda.is_available():
        enough = pictures / torch.cuda.device_count() >= _PICTURES_OF_EACH_GPU
    else:
        enough = pictures * seconds() / (os.cpu_count() or 1) >= _SECONDS_OF_EACH_WORKER
    return enough, "each worker compiles its networks first" if enough else "networks run uncompiled: the job is short"
