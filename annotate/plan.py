"""What will a job cost, before it is begun? Shards and bytes are counted, and time is measured on a few pictures."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from annotate.annotator import Annotator
from annotate.compilation import pays
from annotate.duration import in_words
from annotate.images.source import ImageSource
from annotate.job import LabelJob, one_thread
from annotate.recipe import Recipe
from annotate.shard import Shard
from storage import Schema, create_store

_SHARDS, _ROWS = 6, 16  # of the probe, after one more that only warms up
PROBED = (1 + _SHARDS) * _ROWS  # pictures
_BYTES_A_KEY = 60  # of the key column and its index, for names of some 30 letters


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What labelling a collection will take.

    pictures, shards: how many
    bytes:    of the finished store
    bytes_each: of one label, the mean over the probe
    speeds:   pictures a second of one worker: the slowest shard of the probe, the middle one, the quickest
    workers:  on this machine
    device:   where the probe ran
    unreadable: pictures of the probe that could not be labelled
    probed:   pictures of the probe
    why:      whether the networks are compiled, in words
    """

    pictures: int
    shards: int
    bytes: int
    bytes_each: float
    speeds: tuple[float, float, float]
    workers: int
    device: str
    unreadable: int
    probed: int
    why: str

    @property
    def hours(self) -> tuple[float, float, float]:
        """Hours of one worker: at least, about, at most."""
        slow, middle, quick = self.speeds
        return tuple(self.pictures / speed / 3600 for speed in (quick, middle, slow))  # type: ignore[return-value]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": self.pictures,
            "shards": self.shards,
            "bytes": self.bytes,
            "bytes_each": round(self.bytes_each, 1),
            "per_second": {name: round(v, 3) for name, v in zip(("low", "mid", "high"), self.speeds, strict=True)},
            "worker_hours": {name: round(v, 4) for name, v in zip(("low", "mid", "high"), self.hours, strict=True)},
            "workers": self.workers,
            "device": self.device,
            "unreadable": self.unreadable,
            "probed": self.probed,
            "compiled": self.why,
        }

    def describe(self) -> str:
        """A few lines for a person."""
        low, middle, high = self.hours
        unit = "core-hours" if self.device == "cpu" else f"GPU-hours on {self.device}"
        lines = [
            f"{self.pictures:,} pictures in {self.shards:,} shards",
            f"{_size(self.bytes)} of labels, {self.bytes_each:,.0f} bytes a picture",
            self.why,
            f"{_hours(middle)} {unit} ({_hours(low)} to {_hours(high)}), at {self.speeds[1]:,.2f} pictures a second "
            f"for one worker ({self.speeds[0]:,.2f} to {self.speeds[2]:,.2f})",
            f"on this machine with {self.workers} worker{'s' * (self.workers != 1)}: "
            f"{in_words(3600 * middle / self.workers)} ({in_words(3600 * low / self.workers)} to "
            f"{in_words(3600 * high / self.workers)}), if they do not slow each other down",
            f"measured on {self.probed} pictures, start-up left out; the ranges are those of its shards",
        ]
        if self.unreadable:
            lines.append(f"{self.unreadable} of these could not be labelled")
        return "\n".join(lines)


def plan(
    source: ImageSource,
    recipe: Recipe,
    *,
    k: int = 5,
    rows_per_shard: int | None = None,
    batch_size: int = 32,
    compiled: bool | None = None,
    pictures: int | None = None,
    workers: int = 1,
    report: Callable[[int], object] = lambda done: None,
) -> Plan:
    """Label a few pictures into a store that is then thrown away, as one worker does it, and reckon.

    Args:
        source, recipe, k, rows_per_shard, batch_size, compiled: as of `run`.
        pictures: reckon with so many instead of those that there are.
        workers: that will be at work on this machine.
        report: called after each shard of the probe with its pictures.

    Raises:
        AnnotateError: the network cannot be made or has no faithful dense answer.
    """
    count = len(source.keys) if pictures is None else pictures
    with one_thread():
        annotator = Annotator(recipe, k=k)
        why = "networks are compiled" if compiled else "networks run uncompiled"
        if compiled is None:
            compiled, why = pays(count, annotator.seconds)
    rng = np.random.default_rng(0)
    size = _ROWS
    rows = [rng.integers(len(source.keys), size=size) for _ in range(1 + _SHARDS)]
    schema = Schema(
        grid=annotator.grid,
        k=k,
        class_count=annotator.class_count,
        rows_per_shard=size,
        recipe=recipe.to_json(),
        provenance={"networks": list(annotator.provenance)},
    )
    with tempfile.TemporaryDirectory() as folder:
        address = str(Path(folder, "probe.zarr"))
        store = create_store(address, schema, [f"{n:06}" for n in range(size * len(rows))])
        job = LabelJob(
            reader=source.reader, address=address, recipe=recipe, k=k, batch_size=batch_size, compiled=compiled
        )
        label = job.start()
        seconds, labelled, written = [], 0, 0
        for number, chosen in enumerate(rows):
            handles = [source.handles[int(row)] for row in chosen]
            started = time.monotonic()
            record = label(Shard(store.rows_of(number), handles))
            seconds.append(time.monotonic() - started)
            labelled += record.labelled
            report(size)
            written += sum(len(store.read_object(name) or b"") for name in record.objects)
    speeds = sorted(size / each for each in seconds[1:])
    step = rows_per_shard or min(1024, max(1, count // 16))
    each = written / (size * len(rows))
    return Plan(
        pictures=count,
        shards=-(-count // step),
        bytes=round(count * (each + _BYTES_A_KEY)),
        bytes_each=each,
        speeds=(speeds[0], statistics.median(speeds), speeds[-1]),
        workers=workers,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        unreadable=size * len(rows) - labelled,
        probed=size * len(rows),
        why=why,
    )


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.3f}"


def _size(count: int) -> str:
    for unit, step in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:,.1f} {unit}"
    return f"{count} bytes"
