"""How are times compared on a shared machine? Alternatives take turns, and ratios are within a round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of a ratio over the rounds, and the ends of the middle half of them."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, ratios: NDArray[np.floating[Any]]) -> Self:
        """The ratio of these rounds."""
        return cls(*np.percentile(ratios, [50, 25, 75]).tolist())

    def __str__(self) -> str:
        digits = 2 if self.median < 1 else 1
        return f"{self.median:.{digits}f} ({self.lower:.{digits}f} to {self.upper:.{digits}f})"


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of an alternative in each round, after a first round that does not count.

    seconds:   for each row, wall time
    processor: seconds of processor time for each row, of all threads; None where only wall time was measured. On a busy
               machine it is the fairer one: the longer a program computes, the more often it is interrupted
    """

    name: str
    seconds: NDArray[np.float64]
    processor: NDArray[np.float64] | None = None

    @property
    def median(self) -> float:
        """Seconds for each row."""
        return float(np.median(self.seconds))

    def rate_against(self, peer: Timing) -> Ratio:
        """The rate of this one divided by that of the peer."""
        return Ratio.of(peer.seconds / self.seconds)

    def processor_rate_against(self, peer: Timing) -> Ratio | None:
        """The same by processor time, if both have it."""
        if self.processor is None or peer.processor is None:
            return None
        return Ratio.of(peer.processor / self.processor)

    def to_json(self, peer: Timing) -> dict[str, Any]:
        """Plain JSON values."""
        by_processor = self.processor_rate_against(peer)
        return {
            "name": self.name,
            "microseconds": self.median * 1e6,
            "rate_against_peer": asdict(self.rate_against(peer)),
            "processor_rate_against_peer": by_processor and asdict(by_processor),
        }


def take_turns(
    alternatives: Mapping[str, Callable[[Rows], object]], draw: Callable[[], Rows], *, rounds: int, of: str
) -> list[Timing]:
    """Time each alternative on rows of its own, new in every round, each round starting with another alternative.

    Args:
        alternatives: functions of the rows, by name.
        draw: gives the rows of one turn.
        rounds: the number of rounds that count.
        of: the label of the progress bar.
    """
    names = list(alternatives)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in tqdm(range(rounds + 1), desc=of, leave=False):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            rows, run = draw(), alternatives[name]
            started, processor = time.perf_counter(), time.process_time()
            run(rows)
            ended, worked = time.perf_counter(), time.process_time()
            taken[name].append(((ended - started) / len(rows), (worked - processor) / len(rows)))
    return [Timing(name, *np.array(rounds_of[1:]).T) for name, rounds_of in taken.items()]
