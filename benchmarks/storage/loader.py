"""How does a loader process find pictures by their keys? A fresh process for each way, which takes steps on command.

    python -m benchmarks.storage.loader WAY PATH ROWS LOOKUPS READS SEED

takes the name of a step from each line of its standard input, and answers with a line of JSON. The ways are

    store   PATH is a store, which is opened and asked
    dict    PATH is a text file of all keys, which is read into a dict from key to row
    list    the same file, which is read into a list of (path, class), as folder datasets keep it; finds nothing

The keys that are looked up, and all modules, are in memory before the first step.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.memory import ballast, private
from benchmarks.names import absent_key, key
from storage import StoreError, open_store

ROUNDS = 10  # in which all lookups are done


class Loader:
    """The steps. Rows are random, and looked up by their keys."""

    def __init__(self, way: str, path: str, rows: int, lookups: int, reads: int, seed: int) -> None:
        """Nothing is opened yet."""
        if way == "store":
            importlib.import_module("storage.zarr_backend.backend")  # and so not while opening is timed
        rng = np.random.default_rng(seed)
        self._way, self._path, self._rows = way, path, rng.integers(rows, size=reads).tolist()
        self._present = [key(row, rows) for row in rng.integers(rows, size=lookups).tolist()]
        self._absent = [absent_key(row, rows) for row in rng.integers(rows, size=lookups).tolist()]
        self._round = 0
        self._held: Any = None
        self._ballast = ballast()

    def memory(self) -> dict[str, float]:
        """The private memory of this process, MB."""
        return asdict(private())

    def open(self) -> float:
        """Open the store or the dict, and find a first key; seconds."""
        started = time.perf_counter()
        self._held = _OPEN[self._way](self._path)
        if self._way != "list":
            self._find()(self._present[0])
        return time.perf_counter() - started

    def find(self) -> dict[str, float]:
        """Look up the next tenth of the keys; seconds for a key that is there, and for one that is not."""
        find, present, absent = self._find(), self._present[self._round :: ROUNDS], self._absent[self._round :: ROUNDS]
        self._round += 1
        started = time.perf_counter()
        for name in present:
            find(name)
        between = time.perf_counter()
        for name in absent:
            try:
                find(name)
            except (KeyError, StoreError):
                continue
            raise ValueError(f"{name} was found")
        ended = time.perf_counter()
        return {"present": (between - started) / len(present), "absent": (ended - between) / len(absent)}

    def read(self) -> None:
        """Read labels one by one."""
        for row in self._rows:
            self._held.read([row])

    def _find(self) -> Callable[[str], int]:
        return self._held.find if self._way == "store" else self._held.__getitem__


def _dict(path: str) -> dict[str, int]:
    with open(path, encoding="utf-8") as lines:
        return {line.rstrip("\n"): row for row, line in enumerate(lines)}


def _list(path: str) -> list[tuple[str, int]]:
    classes: dict[str, int] = {}
    with open(path, encoding="utf-8") as lines:
        return [
            (f"/data/train/{name}", classes.setdefault(name.partition("/")[0], len(classes)))
            for name in (line.rstrip("\n") for line in lines)
        ]


_OPEN: dict[str, Callable[[str], Any]] = {"store": open_store, "dict": _dict, "list": _list}


def main() -> None:
    """Take steps until the standard input ends."""
    way, path, *numbers = sys.argv[1:]
    loader = Loader(way, path, *map(int, numbers))
    steps = {"memory": loader.memory, "open": loader.open, "find": loader.find, "read": loader.read}
    for line in sys.stdin:
        print(json.dumps(steps[line.strip()]()), flush=True)


if __name__ == "__main__":
    main()
