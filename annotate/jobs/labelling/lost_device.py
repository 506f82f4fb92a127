"""Can this process still use its GPU? After some errors of CUDA every later call fails, until the process ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from annotate.errors import LostDeviceError


@contextmanager
def noticing_a_lost_device(device: str) -> Iterator[None]:
    """After an error in the `with` block, ask the device whether it still answers; device: as torch names it.

    Raises:
        LostDeviceError: it does not, so that the cause may be another shard's.
        Exception: what the block raised, if the device answers: it is out of memory, for example.
    """
    try:
        yield
    except Exception as error:
        if device != "cpu":
            try:
                torch.cuda.synchronize()
            except Exception:  # torch has had several types for this
                first_line = str(error).partition("\n")[0]
                raise LostDeviceError(f"the GPU answers this process no more, since: {first_line}") from error
        raise
