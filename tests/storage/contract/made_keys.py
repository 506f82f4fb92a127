"""Which keys are made only when they are asked for, and how many of them live at the same time?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from storage.keys.key import KEYS_AT_ONCE


class Alive:
    """How many keys there are now, and the most there were."""

    now = most = 0


class MadeKey(str):
    """A key that is counted as long as it lives."""

    def __new__(cls, text: str, alive: Alive) -> MadeKey:
        key = super().__new__(cls, text)
        key.alive = alive
        alive.now += 1
        alive.most = max(alive.most, alive.now)
        return key

    def __del__(self) -> None:
        self.alive.now -= 1


class MadeKeys(Sequence[str]):
    """The keys 0.jpg, 1.jpg, … but for some, each made when it is asked for, and not to be had all at once."""

    def __init__(self, rows: int, others: Mapping[int, str] = {}) -> None:
        self.rows, self.others, self.alive = rows, others, Alive()

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: Any) -> Any:
        if not isinstance(row, slice):
            return MadeKey(self.others.get(row, f"{row}.jpg"), self.alive)
        rows = range(self.rows)[row]
        assert len(rows) <= KEYS_AT_ONCE
        return [self[row] for row in rows]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the keys were iterated over")
