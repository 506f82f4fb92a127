"""In which order are pictures drawn, so that a resumed training repeats every draw? The order of any sampler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from tokenlabel.dataset.epoch import Draw
from tokenlabel.dataset.labeled_images import LabeledImages


class EpochSampler(Sampler[Draw]):
    """A sampler for `LabeledImages` whose indices carry their epoch, and which of the epoch's draws they are.

    Then each crop is the same whatever the workers do, also of an index that is drawn more than once in an epoch. The
    epoch is that of the dataset when an iterator begins; setting it on either sets it on both, and on `sampler`.

    Args:
        data: the dataset that the loader draws from; a `Subset` or `ConcatDataset` of it drops what an index carries.
        sampler: gives the indices: one of torch's or timm's. By default each index once, shuffled by the dataset's
            seed and the epoch.

    Example:
        loader = DataLoader(data, 64, sampler=EpochSampler(data), collate_fn=collate)
    """

    def __init__(self, data: LabeledImages, sampler: Iterable[int] | None = None) -> None:
        self.data, self.sampler = data, sampler

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, of the dataset too."""
        self.data.set_epoch(epoch)

    def __iter__(self) -> Iterator[Draw]:
        """The indices of one epoch."""
        epoch, drawn = self.data.epoch, Counter[int]()
        rank, processes = self._process()
        for index in self._order(epoch):
            yield Draw(index, epoch=epoch, repeat=drawn[index] * processes + rank)
            drawn[index] += 1

    def __len__(self) -> int:
        """How many indices an epoch has."""
        sampler: Any = self.data if self.sampler is None else self.sampler
        return len(sampler)

    def _order(self, epoch: int) -> Iterator[int]:
        if self.sampler is None:
            return iter(np.random.default_rng([self.data.seed, epoch]).permutation(len(self.data)).tolist())
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)
        return map(int, self.sampler)

    def _process(self) -> tuple[int, int]:
        """The rank and number of processes, as the sampler says, which may be given them."""
        sampler: Any = self.sampler
        if hasattr(sampler, "rank") and hasattr(sampler, "num_replicas"):
            return int(sampler.rank), int(sampler.num_replicas)
        return self.data.process

    def __repr__(self) -> str:
        order = "shuffled" if self.sampler is None else type(self.sampler).__name__
        return f"EpochSampler({order}, draws={len(self)}, epoch={self.data.epoch})"
