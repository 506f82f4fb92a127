"""What does a store of ImageNet's length cost each process of a loader: opening it, finding a key, its memory?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from benchmarks.memory import Private
from benchmarks.names import key
from benchmarks.rounds import Timing
from benchmarks.storage.copies import fill
from benchmarks.storage.loader import ROUNDS
from demo.markdown import section
from storage import LabelMap, Schema, Status, create_store

ROWS, ROWS_PER_SHARD = 1_281_167, 1024
LOOKUPS, READS = 100_000, 20_000  # of each process
WAYS = {"store": "open_store, store.find", "dict": "dict of keys", "list": "list of (path, class)"}


@dataclass(frozen=True, slots=True)
class Way:
    """The cost of one way for each of two processes that use it at once.

    opening:         to open it and find a first key, in fresh processes; files are in the page cache
    present, absent: to find a key that is there, or that it is not; None where that cannot be asked
    held:            private memory that opening and all lookups added, the mean over processes
    read:            and what reading labels added to that; None where there are none
    """

    opening: Timing
    present: Timing | None
    absent: Timing | None
    held: Private
    read: Private | None

    def to_json(self, ours: Way) -> dict[str, Any]:
        """Plain JSON values."""
        timings = {
            name: timing and peer and timing.to_json(peer)
            for name, timing, peer in (
                ("opening", self.opening, ours.opening),
                ("present", self.present, ours.present),
                ("absent", self.absent, ours.absent),
            )
        }
        return {**timings, "private_MB": asdict(self.held), "private_MB_of_reads": self.read and asdict(self.read)}


@dataclass(frozen=True, slots=True)
class Keys:
    """What was measured.

    rows:     how many keys there are
    lookups:  how many keys each process looked up, of those that are there and of those that are not
    reads:    how many labels each of those of the store read
    creating: seconds that it took to make the store
    ways:     what each way costs, by its name in `WAYS`
    alone:    private memory that opening the store and all lookups added to a process that no other shares files with
    """

    rows: int
    lookups: int
    reads: int
    creating: float
    ways: dict[str, Way]
    alone: Private

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        ways = {name: way.to_json(self.ways["store"]) for name, way in self.ways.items()}
        alone = asdict(self.alone)
        return {
            "rows": self.rows,
            "lookups": self.lookups,
            "reads": self.reads,
            "creating_seconds": self.creating,
            "ways": ways,
            "private_MB_alone": alone,
        }

    def describe(self) -> str:
        """Three tables."""
        ours = self.ways["store"]
        processes = len(ours.opening.seconds)
        opening = section(
            f"Opening {self.rows:,} keys and finding a first one",
            ["", "ms", "it / the store's"],
            [_times(WAYS[name], way.opening, ours.opening, 1e3) for name, way in self.ways.items()],
            f"Medians over {processes} fresh processes of each way, in turns, after all imports, and in brackets the "
            f"middle half; files in the page cache. Making the store took {self.creating:,.0f} s.",
        )
        finding = section(
            f"Finding one of {self.rows:,} keys",
            ["", "µs", "it / the store's"],
            [
                _times(f"{WAYS[name]}: {what}", timing, peer, 1e6)
                for name, way in self.ways.items()
                for what, timing, peer in (
                    ("a key that is there", way.present, ours.present),
                    ("one that is not", way.absent, ours.absent),
                )
                if timing and peer
            ],
            f"Medians over {ROUNDS} rounds of {self.lookups // ROUNDS:,} fresh random keys in each of these processes, "
            "in turns, and in brackets the middle half.",
        )
        grown = [(WAYS[name], way.held) for name, way in self.ways.items()]
        if ours.read:
            grown.append((f"store: {self.reads:,} random reads over all shards, besides", ours.read))
        grown.append(("store: opening and lookups, in a process alone", self.alone))
        memory = section(
            "Private memory that it adds to each of two loader processes",
            ["", "MB", "of it dirty", "clean"],
            [[name, *(f"{size:,.1f}" for size in (added.total, added.dirty, added.clean))] for name, added in grown],
            f"Added by opening and {self.lookups:,} lookups of either kind. Clean pages are of mapped files that no "
            "other process maps just then; the system takes them back when it needs them. The store's label maps have "
            "one location and one class here, so that what is mapped are indexes, and little else.",
        )
        return f"{opening}\n{finding}\n{memory}"


def measure(
    folder: Path,
    *,
    rows: int = ROWS,
    rows_per_shard: int = ROWS_PER_SHARD,
    lookups: int = LOOKUPS,
    reads: int = READS,
    repeats: int = 3,
) -> Keys:
    """Make a store of `rows` keys below the folder, and read it with processes, two of each way at once."""
    started = time.perf_counter()
    keys = [key(row, rows) for row in tqdm(range(rows), desc="making keys", leave=False)]
    paths = {"store": folder / "labels.zarr", "dict": folder / "keys.txt", "list": folder / "keys.txt"}
    _write_store(paths["store"], keys, min(rows_per_shard, rows))
    creating = time.perf_counter() - started
    paths["dict"].write_text("".join(f"{name}\n" for name in keys), encoding="utf-8")
    del keys
    os.sync()  # pages of files that are not on the disk yet would count as dirty in the process that maps them
    seen = {way: _Seen() for way in WAYS}
    for repeat in tqdm(range(repeats), desc="finding keys in fresh processes", leave=False):
        _measure_pairs(paths, (rows, lookups, reads), repeat, seen)
    ways = {name: one.way(WAYS[name]) for name, one in seen.items()}
    return Keys(rows, lookups, reads, creating, ways, _measure_alone(paths["store"], (rows, lookups, reads)))


def _write_store(address: Path, keys: Sequence[str], rows_per_shard: int) -> None:
    """A finished store with the smallest possible label maps."""
    store = create_store(address, Schema(grid=(1, 1), k=1, class_count=1000, rows_per_shard=rows_per_shard), keys)
    one = (rows_per_shard, 1, 1, 1)
    labels = LabelMap(
        classes=np.full(one, 7, np.uint16),
        scores=np.full(one, 0.5, np.float32),
        boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (rows_per_shard, 1)),
        sizes=np.full((rows_per_shard, 2), (375, 500), np.uint32),
        status=np.full(rows_per_shard, Status.LABELLED, np.uint8),
    )
    fill(store, labels)


def _times(name: str, timing: Timing, ours: Timing, unit: float) -> list[str]:
    return [name, f"{timing.median * unit:,.2f}", str(ours.rate_against(timing))]


class _Process:
    """A fresh process that takes the steps of benchmarks/storage/loader.py."""

    def __init__(self, way: str, path: Path, *numbers: int) -> None:
        command = [sys.executable, "-m", "benchmarks.storage.loader", way, str(path), *map(str, numbers)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.way = way

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def step(self, name: str) -> Any:
        """Have it take a step; its answer.

        Raises:
            RuntimeError: it ended instead; its standard error says why.
        """
        if not self._process.stdin or not self._process.stdout:
            raise RuntimeError("the process has no pipes")
        print(name, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that was to {name} the {self.way} ended")
        return json.loads(answer)

    def memory(self) -> Private:
        """Its private memory now."""
        return Private(**self.step("memory"))


class _Seen:
    """The measurements of the processes of one way so far."""

    def __init__(self) -> None:
        self.opening: list[float] = []
        self.found: list[dict[str, float]] = []
        self.held: list[Private] = []
        self.read: list[Private] = []

    def way(self, name: str) -> Way:
        """All of it together."""
        present, absent = (
            Timing(name, np.array([one[what] for one in self.found])) if self.found else None
            for what in ("present", "absent")
        )
        read = _mean(self.read) if self.read else None
        return Way(Timing(name, np.array(self.opening)), present, absent, _mean(self.held), read)


def _measure_pairs(paths: dict[str, Path], numbers: tuple[int, int, int], repeat: int, seen: dict[str, _Seen]) -> None:
    """Two processes of each way, all of them alive until the last has measured, and no two at work at once."""
    with ExitStack() as alive:
        processes = [
            alive.enter_context(_Process(way, path, *numbers, seed))
            for seed in (2 * repeat, 2 * repeat + 1)
            for way, path in paths.items()
        ]
        for process in processes:
            process.memory()  # answers when it has begun: what all of them share counts only then
        before = [process.memory() for process in processes]
        for process in processes:
            seen[process.way].opening.append(process.step("open"))
        for _ in range(ROUNDS):
            for process in processes:
                if process.way != "list":
                    seen[process.way].found.append(process.step("find"))
        held = [process.memory() for process in processes]
        for process, first, then in zip(processes, before, held, strict=True):
            seen[process.way].held.append(then - first)
        readers = [(process, then) for process, then in zip(processes, held, strict=True) if process.way == "store"]
        for process, _ in readers:
            process.step("read")
        for process, then in readers:
            seen[process.way].read.append(process.memory() - then)


def _measure_alone(path: Path, numbers: tuple[int, int, int]) -> Private:
    """The memory of a process that opens a store and finds keys, while no other has it open."""
    with _Process("store", path, *numbers, 0) as process:
        before = process.memory()
        process.step("open")
        for _ in range(ROUNDS):
            process.step("find")
        return process.memory() - before


def _mean(found: Sequence[Private]) -> Private:
    return Private(float(np.mean([one.dirty for one in found])), float(np.mean([one.clean for one in found])))
