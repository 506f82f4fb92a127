"""Does a device wait where a shard ends? A stand-in for a GPU, on the CPU: `python -m benchmarks.annotate.busy`

The stand-in answers a batch after a fixed time, without the processor and while others are sent, as CUDA does. All else
is real: JPEG files are decoded and resized, labels coded, and shards written and committed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from annotate.cores import usable_cores
from annotate.images import FolderImages
from annotate.jobs.labelling.label_job import one_thread
from annotate.jobs.labelling.pipeline import Pipeline
from annotate.jobs.labelling.shard import Shard, commit_shard
from annotate.jobs.workers import AT_ONCE, LocalWorkers
from annotate.model.annotator import Prepared
from annotate.model.preprocess import preprocess
from benchmarks.annotate.labelling import write_pictures
from benchmarks.reference import CLASS_COUNT, Maps
from demo.markdown import section
from storage import LabelMap, Record, Schema, create_store

SIZE, BATCH = 224, 32
SHARDS = (64, 256, 1024)
OF_CAPACITY = (0.4, 0.6, 0.8, 1.0, 1.3)
KEEPS_UP = 0.5  # of what the processor can do: enough is left for others on a shared machine


class StandIn:
    """A device that answers a batch a fixed time after it could begin with it.

    Args:
        a_second: pictures that it labels in a second; 0 for one that answers at once.
        maps: what its labels are made of.
    """

    def __init__(self, a_second: float, maps: Maps) -> None:
        self.grid, self.k, self.class_count = maps.classes.shape[1:3], maps.classes.shape[3], CLASS_COUNT
        self._a_second = a_second
        self._answers = {n: maps.labels(n) for n in range(1, BATCH + 1)}
        self._first = self._free_at = self._idle = 0.0

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """Resize it, as for a network."""
        fitted = preprocess(picture, (SIZE, SIZE), "squash", interpolation="bicubic")
        return Prepared((picture.shape[0], picture.shape[1]), (fitted,))

    def start(self, prepared: Sequence[Prepared]) -> Callable[[], LabelMap]:
        """Begin with a batch, when the last is done."""
        now = time.perf_counter()
        np.stack([picture.inputs[0][0] for picture in prepared])  # as for the copy to a device
        self._first = self._first or now
        self._idle += max(0.0, now - (self._free_at or now))
        self._free_at = done = max(now, self._free_at) + (len(prepared) / self._a_second if self._a_second else 0.0)

        def wait() -> LabelMap:
            time.sleep(max(0.0, done - time.perf_counter()))
            return self._answers[len(prepared)]

        return wait

    @property
    def busy(self) -> float:
        """The fraction of the time from its first batch to the end of its last in which it had work."""
        return 1 - self._idle / (self._free_at - self._first)


@dataclass(frozen=True)
class Stood:
    """A job whose network is the stand-in."""

    device: StandIn
    source: FolderImages
    address: str
    decoders: int

    def start(self) -> Callable[[Shard], Record]:
        """Create the store."""
        from storage import open_store

        store = open_store(self.address, writable=True)
        pipeline = Pipeline(self.device, self.source.reader, batch_size=BATCH, decoders=self.decoders)

        def do(shard: Shard) -> Record:
            with one_thread():
                return commit_shard(store, shard, lambda one: pipeline.label(one)[:2], run="", about={})

        return do


@dataclass(frozen=True, slots=True)
class Rate:
    """A device of some speed.

    a_second:    pictures that it labels in a second
    of_capacity: the same as a fraction of the processor's, which is measured before and after: other work changes it
    busy:        the fraction of time in which it had work, overlapping
    """

    a_second: float
    of_capacity: float
    busy: float


@dataclass(frozen=True, slots=True)
class Busy:
    """What was measured.

    capacity: pictures a second of this machine with a device that answers at once, before the others
    a_core:   the same for each second of processor time
    shards:   by pictures of a shard: the fraction of time with work, one shard after another, and overlapping
    rates:    devices of some speeds
    """

    capacity: float
    a_core: float
    cores: int
    shards: dict[int, tuple[float, float]] = field(default_factory=dict)
    rates: list[Rate] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        rates = [asdict(rate) for rate in self.rates]
        return {"capacity": self.capacity, "a_core": self.a_core, "shards": self.shards, "rates": rates}

    def describe(self) -> str:
        """Two tables."""
        about = (
            f"JPEG files of 500x375 pixels, an input of {SIZE}x{SIZE}, labels on an 18x18 grid, batches of {BATCH}, a "
            f"local store, {self.cores} cores."
        )
        shards = section(
            "The fraction of time in which the device has work",
            ["pictures of a shard", "one shard after another", "overlapping"],
            [[f"{n:,}", f"{before:.3f}", f"{after:.3f}"] for n, (before, after) in self.shards.items()],
            f"A stand-in for a GPU that labels {KEEPS_UP * self.capacity:,.0f} pictures a second, {KEEPS_UP:.0%} of "
            f"what the processor can do here: {about}",
        )
        rates = section(
            "Where the processor no longer keeps up",
            ["pictures a second of the device", "of the processor's", "time with work"],
            [[f"{one.a_second:,.0f}", f"{one.of_capacity:.0%}", f"{one.busy:.3f}"] for one in self.rates],
            f"Shards of {SHARDS[1]}, overlapping. What the processor can do is measured before and after each, with a "
            f"device that answers at once: at first it was {self.capacity:,.0f} pictures a second, {self.a_core:,.0f} "
            "for each second of processor time: so many a core is the point.",
        )
        return f"{shards}\n{rates}"


def measure(
    folder: Path, *, shards: Sequence[int] = SHARDS, rates: Sequence[float] = OF_CAPACITY, least: int = 4
) -> Busy:
    """Write pictures below the folder and label them: `least` shards in each turn, or as many as fill two large ones.

    Args:
        folder: for pictures and stores.
        shards: pictures of a shard.
        rates: speeds of the device, as fractions of what the processor can do.
        least: shards in each turn.
    """
    source, maps, numbers = FolderImages(write_pictures(folder / "images")), Maps.load(), count()

    def run(a_second: float, rows_per_shard: int, at_once: int) -> StandIn:
        rows = max(least * rows_per_shard, 2 * max(shards))
        address = str(folder / f"{next(numbers)}.zarr")
        device = StandIn(a_second, maps)
        schema = Schema(grid=device.grid, k=device.k, class_count=CLASS_COUNT, rows_per_shard=rows_per_shard)
        store = create_store(address, schema, [f"{row:06}" for row in range(rows)])
        tasks = [Shard(each, [source.handles[row % len(source.handles)] for row in each]) for each in store.shards()]
        job = Stood(device, source, address, usable_cores())
        for outcome in LocalWorkers(at_once=at_once).map(job, tasks):
            if outcome.record is None:
                raise RuntimeError(outcome.error)
        return device

    def capacity() -> tuple[float, float]:
        began, worked = time.perf_counter(), time.process_time()
        run(0, shards[0], AT_ONCE)
        done = max(least * shards[0], 2 * max(shards))
        return done / (time.perf_counter() - began), done / (time.process_time() - worked)

    capacity()  # warms up
    now, a_core = capacity()
    found = Busy(capacity=now, a_core=a_core, cores=usable_cores())
    for size in tqdm(shards, desc="shards", leave=False):
        before, after = (run(KEEPS_UP * found.capacity, size, at_once).busy for at_once in (1, AT_ONCE))
        found.shards[size] = before, after
    now, _ = capacity()
    for fraction in tqdm(rates, desc="rates", leave=False):
        rate, earlier = fraction * now, now
        busy = run(rate, sorted(shards)[len(shards) // 2], AT_ONCE).busy
        now, _ = capacity()
        found.rates.append(Rate(rate, 2 * rate / (earlier + now), busy))
    return found


@click.command()
def main() -> None:
    """Measure, and print the tables."""
    with tempfile.TemporaryDirectory(prefix="tokenlabel-benchmark-") as folder:
        print(measure(Path(folder)).describe())


if __name__ == "__main__":
    main()
