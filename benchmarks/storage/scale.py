"""How do a driver's time and memory grow with the dataset? Stores of 10^4 to 10^8 rows, without pictures.

`python -m benchmarks.storage.scale [--rows N …] [--json FILE]`
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import click
from tqdm import tqdm

from benchmarks.memory import peak
from demo.markdown import section
from storage import Schema, Status, create_store, find_store, open_store
from storage.encoding.coded_labels import layouts
from storage.keys.key import blocks
from storage.record import Failure, Record
from storage.store import LabelStore
from storage.zarr_backend.layout import RECORDS
from storage.zarr_backend.shard_reader import object_name
from storage.zarr_backend.shard_writer import string_object

ROWS = (10**4, 10**6, 10**7)
SCHEMA = Schema(grid=(18, 18), k=5, class_count=1000, rows_per_shard=1024, recipe={"model": "none"})
PENDING_EVERY, FAILED_EVERY = 100, 10  # shards: one is pending, one has a picture without a label


class Keys(Sequence[str]):
    """Keys, a thousand in each folder, generated on demand."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [f"{number // 1000}/{number}.jpg" for number in range(*row.indices(self._rows))]
        return f"{range(self._rows)[row] // 1000}/{row}.jpg"


@dataclass(frozen=True, slots=True)
class Step:
    """The cost of a step in a process of its own: seconds after all imports, and peak memory in MB."""

    seconds: float
    peak: float


@dataclass(frozen=True, slots=True)
class Size:
    """The cost of a store of this size, by the steps of `STEPS`."""

    rows: int
    shards: int
    steps: dict[str, Step]


@dataclass(frozen=True, slots=True)
class Scale:
    """What was measured, by size."""

    sizes: tuple[Size, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def describe(self) -> str:
        """Two tables."""
        columns = ["rows", "shards", *STEPS]
        seconds = section(
            "Seconds of the driver",
            columns,
            [self._row(size, [f"{step.seconds:,.2f}" for step in size.steps.values()]) for size in self.sizes],
            "Each step once, in a fresh process, after all imports; files in the page cache. keys: to make the keys "
            "and drop them, which create does three times and resume once. create: create_store. pending: open_store "
            "and pending(). status: open_store and a pass over all commit records. resume: find_store, "
            f"backend.check_same with the same keys, pending(). One of {PENDING_EVERY} shards is pending.",
        )
        memory = section(
            "Peak MB of the driver",
            columns,
            [self._row(size, [f"{step.peak:,.0f}" for step in size.steps.values()]) for size in self.sizes],
            "The most resident memory that the process of the step ever had (VmHWM), with the interpreter, numpy and "
            "zarr-python; nothing is subtracted.",
        )
        return f"{seconds}\n{memory}"

    @staticmethod
    def _row(size: Size, figures: Sequence[str]) -> list[str]:
        return [f"{size.rows:,}", f"{size.shards:,}", *figures]


def measure(folder: Path, *, rows: Sequence[int] = ROWS) -> Scale:
    """Make stores of these sizes below the folder, one by one, and run each step in a fresh process."""
    return Scale(tuple(_measure(folder / f"{count}.zarr", count) for count in rows))


def _measure(address: Path, rows: int) -> Size:
    shards = SCHEMA.shards(rows)
    steps = {}
    for name in tqdm(STEPS, desc=f"{rows:,} rows", leave=False):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            steps[name], found = pool.apply(_take, (name, address, rows))
        if found != (expected := _expected(name, shards)):
            raise RuntimeError(f"{name} of {rows:,} rows found {found}, not {expected}")
        if name == "create":
            _commit(address)
    return Size(rows, len(shards), steps)


def _take(name: str, address: Path, rows: int) -> tuple[Step, Any]:
    """Run a step in this process; its cost, and its result."""
    started = time.perf_counter()
    found = STEPS[name](address, rows)
    return Step(time.perf_counter() - started, peak()), found


def _keys(address: Path, rows: int) -> int:
    return sum(map(len, blocks(Keys(rows))))


def _create(address: Path, rows: int) -> int:
    return len(create_store(address, SCHEMA, Keys(rows)))


def _pending(address: Path, rows: int) -> int:
    return sum(map(len, open_store(address).pending()))


def _status(address: Path, rows: int) -> tuple[int, int]:
    labelled = failed = 0
    for _, record in open_store(address).records():
        if record:
            labelled += record.labelled
            failed += len(record.failures)
    return labelled, failed


def _resume(address: Path, rows: int) -> int:
    store = find_store(address)
    if store is None:
        raise RuntimeError(f"there is no store at {address}")
    store.backend.check_same(SCHEMA, Keys(rows))
    return sum(map(len, store.pending()))


STEPS: dict[str, Callable[[Path, int], Any]] = {
    "keys": _keys,
    "create": _create,
    "pending": _pending,
    "status": _status,
    "resume": _resume,
}


def _expected(name: str, shards: Sequence[range]) -> Any:
    """The result that a step must have."""
    rows = shards[-1].stop
    pending = sum(map(len, shards[::PENDING_EVERY]))
    failed = sum(1 for _ in _failing(len(shards)))
    found = {"pending": pending, "resume": pending, "status": (rows - pending - failed, failed)}
    return found.get(name, rows)


def _failing(shards: int) -> Iterator[int]:
    return (shard for shard in range(1, shards, FAILED_EVERY) if shard % PENDING_EVERY)


def _commit(address: Path) -> None:
    """Write the commit records of a run without its labels."""
    store = open_store(address, writable=True)
    failing = set(_failing(len(store.shards())))
    for shard, rows in enumerate(tqdm(store.shards(), desc="writing commit records", leave=False)):
        if shard % PENDING_EVERY:
            record = _record(store, shard, rows, failing=shard in failing)
            store.backend.write_object(f"{RECORDS}/c/{shard}", string_object(record.to_text()))


def _record(store: LabelStore, shard: int, rows: range, *, failing: bool) -> Record:
    names = [object_name(layout, shard) for layout in layouts(store.schema)]
    failure = Failure(row=rows.start, status=Status.UNDECODABLE, reason="the file is truncated")
    return Record(
        start=rows.start,
        stop=rows.stop,
        labelled=len(rows) - failing,
        failures=(failure,) * failing,
        objects={name: hashlib.sha256(name.encode()).hexdigest() for name in names},
        run={"attempt": 1, "finished": "2026-01-31T12:00:00+00:00", "seconds": 12.3, "worker": "node-1:4242"},
    )


@click.command()
@click.option("--rows", type=click.IntRange(1), multiple=True, default=ROWS, show_default=True, help="Can be repeated.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures there, too.")
def main(rows: Sequence[int], file: Path | None) -> None:
    """Measure a driver's work with stores of these sizes; 10^8 rows need 5 GB of disk and ten minutes."""
    with tempfile.TemporaryDirectory(prefix="tokenlabel-scale-") as folder:
        found = measure(Path(folder), rows=rows)
    print(found.describe())
    if file:
        file.write_text(json.dumps(found.to_json(), indent=2) + "\n")


if __name__ == "__main__":
    main()
