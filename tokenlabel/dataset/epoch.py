"""Which random numbers does a training picture get? Those of its index, its epoch, and the draws before."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Sequence
from multiprocessing.context import get_spawning_popen
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch.utils.data import get_worker_info

from tokenlabel.errors import LabelError

# What the shared numbers mean.
_EPOCH, _RANK, _PROCESSES, _TOLD, _DRAWN_BY_WORKERS = range(5)


# A lock of this context can be inherited by workers that are forked, and sent to those that are spawned.
_CONTEXT = multiprocessing.get_context("spawn")


class Draw(int):
    """An index that says itself in which epoch it is drawn, and as which of the draws of this epoch.

    Example:
        >>> draw = Draw(7, epoch=2, repeat=1)
        >>> draw, draw.epoch, draw.repeat
        (7, 2, 1)
    """

    epoch: int
    repeat: int

    def __new__(cls, index: int, *, epoch: int, repeat: int) -> Draw:
        """An integer like any other, which also carries both numbers."""
        draw = super().__new__(cls, index)
        draw.epoch, draw.repeat = epoch, repeat
        return draw

    def __reduce__(self) -> tuple[Any, ...]:
        return _draw, (int(self), self.epoch, self.repeat)


def _draw(index: int, epoch: int, repeat: int) -> Draw:
    return Draw(index, epoch=epoch, repeat=repeat)


class Epoch:
    """The epoch of a dataset, and how often each index was drawn in it.

    Both lie in memory that the workers of a loader share, also after the dataset was pickled or copied. A copy has an
    epoch of its own.
    """

    def __init__(self, pictures: int) -> None:
        self._numbers = torch.zeros(5, dtype=torch.int64).share_memory_()
        self._drawn = torch.zeros(pictures, dtype=torch.int32).share_memory_()
        self._lock = _CONTEXT.Lock()  # two workers that draw one index at once must not count the same draw
        self._before: np.ndarray | None = None  # which indices the last epoch showed
        self._numbers[_RANK], self._numbers[_PROCESSES] = process() or (0, 1)

    def __getstate__(self) -> dict[str, Any]:
        """All of it; but a lock can be sent only to a worker that is being spawned."""
        state = dict(self.__dict__)
        if get_spawning_popen() is None:
            del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_lock" not in state:
            self._lock = _CONTEXT.Lock()
        # What a loader sends to a worker that it spawns is still shared with it; any other copy no longer is.
        for tensor in (self._numbers, self._drawn):
            if not tensor.is_shared():
                tensor.share_memory_()

    @property
    def number(self) -> int:
        """The epoch."""
        return int(self._numbers[_EPOCH])

    def begin(self, epoch: int) -> None:
        """Begin an epoch anew: no index has been drawn in it.

        Raises:
            LabelError: the epoch is not 0 or more; workers have drawn pictures before the first epoch was set; a later
                epoch was set, and is taken back before a picture was drawn in it.
        """
        if not isinstance(epoch, int | np.integer) or epoch < 0:
            raise LabelError(f"the epoch must be an integer of 0 or more, not {epoch!r}")
        if self._numbers[_TOLD] and epoch < self.number and not self._drawn.any():
            raise LabelError(
                f"set_epoch({epoch}) came after set_epoch({self.number}), and no picture was drawn in between: two "
                "parts of the program count epochs differently. Accelerate's loaders count from 0, also when a "
                "training is resumed, and tell the dataset when an iterator is made: give the epoch to the prepared "
                "loader, loader.set_epoch(epoch), in place of the dataset"
            )
        in_time = bool(self._numbers[_TOLD]) or epoch == 0 or (epoch == 1 and self._passed())
        self._warn_of_a_deaf_sampler(int(epoch))
        self._numbers[_EPOCH], self._numbers[_TOLD] = int(epoch), 1
        # After the epoch was written: a worker counts first and reads the epoch then, so that none is overlooked.
        if not in_time and (late := int(self._numbers[_DRAWN_BY_WORKERS])):
            raise LabelError(
                f"set_epoch({epoch}) came too late: the loader's workers have drawn {late} pictures before, with the "
                "random numbers of epoch 0. When a training is resumed, set the epoch before the loader's iterator is "
                "made; in Lightning, where train_dataloader() makes the loader (docs/trainers.md). If these were other "
                "draws, call set_epoch before them too"
            )
        self._numbers[_RANK], self._numbers[_PROCESSES] = self.process()
        self._drawn.zero_()

    def draws(self, indices: Sequence[int]) -> list[tuple[int, int]]:
        """For each index the epoch that it is drawn in, and how many draws of this index there were before.

        A `Draw` says both itself; other indices are counted. The draws of several processes that train together are
        numbered as one sequence.
        """
        with self._lock:
            if get_worker_info() is not None:
                self._numbers[_DRAWN_BY_WORKERS] += len(indices)
            epoch, (rank, processes), drawn = self.number, self.process(), self._drawn.numpy()
            found = []
            for index in indices:
                counted = epoch, int(drawn[index]) * processes + rank
                found.append((index.epoch, index.repeat) if isinstance(index, Draw) else counted)
                drawn[index] += 1
            return found

    def process(self) -> tuple[int, int]:
        """The rank of this process, and the number of those that train together."""
        return process() or (int(self._numbers[_RANK]), int(self._numbers[_PROCESSES]))

    def _passed(self) -> bool:
        """Whether so many pictures were drawn that it was a pass, and not only what workers draw in advance."""
        return 2 * int(self._drawn.sum()) * self.process()[1] > len(self._drawn)

    def _warn_of_a_deaf_sampler(self, epoch: int) -> None:
        """A distributed sampler that is not told the epoch gives this process the same pictures in all epochs."""
        shown = self._drawn.numpy() > 0
        if not shown.any() or epoch == self.number or self.process()[1] == 1:
            return
        if self._before is not None and not shown.all() and np.array_equal(shown, self._before):
            warnings.warn(
                f"this process was given the same {shown.sum()} of {len(shown)} pictures in the last two epochs: its "
                "sampler is not told the epoch. Call loader.sampler.set_epoch(epoch) too, which timm's train.py leaves "
                "out for datasets that have set_epoch, or give EpochSampler(data, sampler)",
                stacklevel=4,
            )
        self._before = shown


def process() -> tuple[int, int] | None:
    """The rank of this process and the number of processes, as torch.distributed or torchrun says; None if neither."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return None
