"""How small could the maps be? What an ideal arithmetic coder needs for the same class ids and score codes.

It goes through a map location by location, row by row, and at each rank by rank. Every question costs -log2 of the
probability of its answer, in bits:

    does the rank hold a class?        given: whether it does in the left and in the upper neighbour; the code above
    is it this class of a neighbour?   asked of the classes of the left and the upper neighbour in turn, those of the
                                       same rank first, until one is right; given: the ranks of that class in both and
                                       its score there; how the rank above was found
    has the picture had it before?     given: how many classes it has had. Which of them then costs log2 of their
                                       number, and a class that is new costs log2 of the class count
    what is the score code?            bit by bit from the highest; given: the bits before; whether the neighbours have
                                       this class, and its score there; the code above. Rank 0 begins with its flag,
                                       given flags, codes and classes of rank 0 in both neighbours

"Above" is the rank before this one at the same location. Probabilities are counts of answers, half a count added to
each, kept for each rank. The cost of the maps of one half is computed with the counts of the other half.

So this is the bound of this model; a better model would need less. Nor is it the size of a file: a file also needs an
index and checksums, chunks that can be read alone, and a reader that does not know the counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.encoding import scores
from storage.labelmap import no_class

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_BEYOND, _NOTHING = -2, -1  # instead of a class: a neighbour outside the picture; a rank without a class
_BITS = 7  # of a score code without its flag
# The limits of the groups of codes and of class counts.
_FINE = np.array([2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 25, 30, 38, 50, 65, 82])
_COARSE = np.array([2, 4, 6, 9, 13, 18, 25, 33, 45, 60])
_FEW = np.array([6, 12, 20, 32, 50])
_COUNTS = np.array([2, 4, 8, 12, 20, 30, 45, 60, 80, 110, 150])


@dataclass(frozen=True, slots=True)
class Bound:
    """Bytes a map: for the class ids, and for the score codes."""

    classes: float
    scores: float

    @property
    def total(self) -> float:
        """Bytes a map."""
        return self.classes + self.scores


def bound(classes: NDArray[np.unsignedinteger[Any]], codes: NDArray[np.uint8], class_count: int) -> Bound:
    """The bound of at least two maps: class ids and score codes [n, h, w, k] as stored."""
    coder = _Coder(classes, codes, class_count)
    ranks = range(classes.shape[-1])
    bits = [(coder.class_bits(rank), coder.score_bits(rank)) for rank in ranks]
    return Bound(*(sum(column) / 8 / len(classes) for column in zip(*bits, strict=True)))


class _Coder:
    """Codes a symbol of all locations of all maps at once; its context is known to the decoder too."""

    def __init__(self, classes: NDArray[np.unsignedinteger[Any]], codes: NDArray[np.uint8], class_count: int) -> None:
        self.classes = np.where(classes == no_class(classes.dtype), _NOTHING, classes.astype(np.int64))
        self.codes = codes.astype(np.int64)
        self.class_count = class_count
        values = np.rint(scores.STEPS * np.sqrt(scores.decode(codes))).astype(np.int64)
        # Of the left and of the upper neighbour.
        self.classes_around, self.codes_around, self.values_around = (
            [_neighbour(array, axis, beyond) for axis in (2, 1)]
            for array, beyond in ((self.classes, _BEYOND), (self.codes, 0), (values, 0))
        )
        self.seen, self.palette = _history(self.classes)
        self.way = np.zeros(classes.shape[:3], np.int64)  # how the rank above was found
        self.half = np.arange(len(classes)) < len(classes) // 2

    def class_bits(self, rank: int) -> float:
        """Bits of the class ids of a rank, in all maps."""
        actual = self.classes[..., rank]
        open_ = self.classes[..., rank - 1] >= 0 if rank else np.full(actual.shape, True)
        nothing_around = [classes[..., rank] == _NOTHING for classes in self.classes_around]
        bits = self._bits(actual >= 0, open_, *nothing_around, _group(self._code_above(rank), _COARSE))

        waiting = actual >= 0
        asked = [self.classes[..., earlier] for earlier in range(rank)]  # none of them is here again
        nearest_first = sorted(range(self.classes.shape[-1]), key=lambda other: (abs(other - rank), other < rank))
        for other, classes in product(nearest_first, self.classes_around):
            candidate = classes[..., other]
            asks = waiting & (candidate >= 0) & np.all([candidate != one for one in asked], axis=0)
            asked.append(candidate)
            right = candidate == actual
            ranks, value = self._around(candidate)
            bits += self._bits(right, asks, *ranks, _group(value, _FEW), self.way)
            waiting &= ~(asks & right)
        self.way = np.where(waiting, 2, actual != self.classes_around[0][..., rank])

        seen, palette = self.seen[..., rank], self.palette[..., rank]
        bits += self._bits(seen, waiting, _group(palette, _COUNTS))
        bits += np.log2(palette[waiting & seen]).sum()
        return float(bits + (waiting & ~seen).sum() * np.log2(self.class_count))

    def score_bits(self, rank: int) -> float:
        """Bits of the score codes of a rank, in all maps."""
        actual, code = self.classes[..., rank], self.codes[..., rank]
        if not rank:
            return self._first_score_bits(actual, code // scores.FLAG, code % scores.FLAG)
        ranks, value = self._around(actual)
        above = self._code_above(rank)
        there = [each < self.classes.shape[-1] for each in ranks]
        # A rank without a class has the code 0: that is known by now.
        return self._number_bits(
            code, actual >= 0, *there, _group(value, _COARSE), above // scores.FLAG, _group(above % scores.FLAG, _FINE)
        )

    def _first_score_bits(self, actual: Ints, flag: Ints, number: Ints) -> float:
        flags = [codes[..., 0] // scores.FLAG for codes in self.codes_around]
        numbers = [codes[..., 0] % scores.FLAG for codes in self.codes_around]
        same = [classes[..., 0] == actual for classes in self.classes_around]
        all_ = np.full(actual.shape, True)
        bits = self._bits(flag == 1, all_, *flags, *same, *(_group(one, _COARSE) for one in numbers))
        # The number is of the best class or of the remainder; a neighbour's predicts it if it is of the same.
        alike = [np.where(one, 1 + (other == flag), 0) for one, other in zip(same, flags, strict=True)]
        weight = np.stack([one == 2 for one in alike])
        weight |= ~weight.any(0)
        guess = (weight * np.stack(numbers)).sum(0) // weight.sum(0)
        return bits + self._number_bits(number, all_, flag, *alike, actual < 0, _group(guess, _FINE))

    def _number_bits(self, number: Ints, where: Bools, *given: NDArray[Any]) -> float:
        """Bits of a code without flag: those of each of its bits, given those before."""
        nodes = (1 << _BITS | number) >> np.arange(_BITS, -1, -1)[:, None, None, None]
        return sum(self._bits(after % 2 == 1, where, before, *given) for before, after in pairwise(nodes))

    def _bits(self, answer: Bools, where: Bools, *given: NDArray[Any]) -> float:
        """Bits of these answers, where they are asked for; each half of the maps by the counts of the other."""
        context = np.zeros(int(where.sum()), np.int64)
        for one in given:
            values = one[where].astype(np.int64)
            context = context * (values.max(initial=0) + 1) + values
        cell = 2 * np.unique(context, return_inverse=True)[1] + answer[where]
        half = np.broadcast_to(self.half[:, None, None], where.shape)[where]
        bits = 0.0
        for counted in (half, ~half):
            counts = 0.5 + np.bincount(cell[counted], minlength=cell.max(initial=1) // 2 * 2 + 2).reshape(-1, 2)
            bits -= np.log2(counts / counts.sum(1, keepdims=True)).ravel()[cell[~counted]].sum()
        return float(bits)

    def _around(self, wanted: Ints) -> tuple[list[Ints], Ints]:
        """The ranks of these classes in both neighbours, k where they are not there, and the mean of their scores."""
        k = self.classes.shape[-1]
        hits = [classes == wanted[..., None] for classes in self.classes_around]
        ranks = [np.where(hit.any(-1), hit.argmax(-1), k) for hit in hits]
        sums = sum((hit * values).sum(-1) for hit, values in zip(hits, self.values_around, strict=True))
        return ranks, sums // np.maximum(sum(each < k for each in ranks), 1)

    def _code_above(self, rank: int) -> Ints:
        return self.codes[..., rank - 1] if rank else np.zeros(self.classes.shape[:3], np.int64)


def _group(numbers: Ints, cuts: Ints) -> Ints:
    return np.searchsorted(cuts, numbers, "right")


def _neighbour(array: Ints, axis: int, beyond: int) -> Ints:
    """The values of the left (axis 2) or upper (axis 1) neighbour of every location."""
    moved = np.roll(array, 1, axis)
    np.moveaxis(moved, axis, 0)[0] = beyond
    return moved


def _history(classes: Ints) -> tuple[Bools, Ints]:
    """For each rank of each location [n, h, w, k]: had the picture this class before, and how many had it had?"""
    seen, had = np.empty(classes.shape, bool), np.empty(classes.shape, np.int64)
    for n, picture in enumerate(classes.reshape(len(classes), -1)):
        _, first, inverse = np.unique(picture, return_index=True, return_inverse=True)
        again = np.arange(len(picture)) > first[inverse]
        new = ~again & (picture >= 0)
        seen[n], had[n] = again.reshape(classes.shape[1:]), (new.cumsum() - new).reshape(classes.shape[1:])
    return seen, had
