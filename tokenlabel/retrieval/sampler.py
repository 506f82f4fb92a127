"""Which pictures form a batch? Some of each of several classes, so that there are pairs of both kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from tokenlabel.dataset.epoch import Draw
from tokenlabel.errors import LabelError


class ClassBatches(Sampler[list[int]]):
    """Batches of `classes` x `each` indices: the `batch_sampler` of a DataLoader.

    A batch is a pure function of (seed, step). Classes of a single picture are left out; one with fewer than `each` has
    some of its pictures twice. Each index also says its step, so that `LabeledImages` draws new crops of it.

    Args:
        identities: class number of each picture.
        classes: P, of a batch, at least 2.
        each: K, pictures of each of them, at least 2.
        steps: number of batches.
        seed: of the draws.
        first: the step to begin with, where a training is resumed.

    Raises:
        LabelError: P or K below 2; there are fewer than P classes with two pictures.

    Example:
        >>> batches = ClassBatches([0, 0, 0, 1, 1, 1, 2], classes=2, each=2, steps=3)
        >>> [sorted({index // 3 for index in batch}) for batch in batches]
        [[0, 1], [0, 1], [0, 1]]
    """

    def __init__(
        self, identities: Sequence[int], *, classes: int, each: int, steps: int, seed: int = 0, first: int = 0
    ) -> None:
        if classes < 2 or each < 2:
            raise LabelError(
                f"a batch of {classes} classes with {each} pictures of each has no pairs of "
                f"{'different' if classes < 2 else 'one'} class{'es' * (classes < 2)}; give at least 2 of both"
            )
        numbers = np.asarray(identities)
        members = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
        self._members = [found for found in members if len(found) > 1]
        if len(self._members) < classes:
            raise LabelError(
                f"{len(self._members)} of {len(members)} classes have two pictures or more, but a batch takes "
                f"{classes}; give fewer classes for a batch, or more pictures"
            )
        self.classes, self.each, self.steps, self.seed, self.first = classes, each, steps, seed, first

    def __iter__(self) -> Iterator[list[int]]:
        """The batches from the first step on."""
        for step in range(self.first, self.steps):
            rng = np.random.default_rng([self.seed, step])
            drawn: list[int] = []
            for number in rng.choice(len(self._members), self.classes, replace=False):
                members = self._members[number]
                whole, rest = divmod(self.each, len(members))
                drawn += [*members.tolist() * whole, *rng.choice(members, rest, replace=False).tolist()]
            yield list(_draws(drawn, step))

    def __len__(self) -> int:
        """Batches that are left."""
        return self.steps - self.first

    def __repr__(self) -> str:
        return f"ClassBatches({self.classes} classes x {self.each} pictures, steps={self.steps})"


def _draws(indices: list[int], step: int) -> Iterator[Draw]:
    before: Counter[int] = Counter()
    for index in indices:
        yield Draw(index, epoch=step, repeat=before[index])
        before[index] += 1
