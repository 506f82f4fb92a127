"""How long will a job take, and how large will its store be? Estimated by labelling a few of its pictures."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from annotate.images.source import ImageSource
from annotate.jobs.execution import Execution
from annotate.jobs.label_job import LabelJob, one_thread
from annotate.jobs.resume import rows_of_shards
from annotate.jobs.shard import Shard
from annotate.model.annotator import Annotator
from annotate.model.compilation import is_worth_compiling
from annotate.model.recipe import Recipe
from annotate.text import duration
from storage import Schema, create_store

_SHARDS, _ROWS = 6, 16  # of the probe; one more shard before these only warms up
PROBED = (1 + _SHARDS) * _ROWS  # pictures
_BYTES_A_KEY = 60  # of the key column and its index, for names of some 30 letters


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An estimate of what labelling a collection takes.

    pictures, shards: how many there are
    bytes:    size of the finished store
    bytes_each: of one picture's label, the mean over the probe
    speeds:   pictures a second of one worker, by shard of the probe: the lowest, the median, the highest
    workers:  how many will work on this machine
    device:   where the probe ran: "cpu", or the name of the GPU
    unreadable: pictures of the probe that could not be labelled
    probed:   how many pictures the probe had
    why:      whether the networks are compiled and why, as a sentence
    """

    pictures: int
    shards: int
    bytes: int
    bytes_each: float = field(repr=False)
    speeds: tuple[float, float, float] = field(repr=False)
    workers: int
    device: str
    unreadable: int
    probed: int
    why: str = field(repr=False)

    @property
    def hours(self) -> tuple[float, float, float]:
        """Hours of one worker: lowest, median and highest estimate."""
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
        """A few lines of text for the user."""
        low, middle, high = self.hours
        unit = "core-hours" if self.device == "cpu" else f"GPU-hours on {self.device}"
        lines = [
            f"{self.pictures:,} pictures in {self.shards:,} shards",
            f"{_size(self.bytes)} of labels, {self.bytes_each:,.0f} bytes a picture",
            self.why,
            f"{_hours(middle)} {unit} ({_hours(low)} to {_hours(high)}), at {self.speeds[1]:,.2f} pictures a second "
            f"for one worker ({self.speeds[0]:,.2f} to {self.speeds[2]:,.2f})",
            f"on this machine with {self.workers} worker{'s' * (self.workers != 1)}: "
            f"{duration(3600 * middle / self.workers)} ({duration(3600 * low / self.workers)} to "
            f"{duration(3600 * high / self.workers)}), provided that they do not slow each other down",
            f"measured on {self.probed} pictures, without start-up; the ranges are those of the shards of this probe",
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
    on_pictures: Callable[[int], object] = lambda done: None,
) -> Plan:
    """Estimate what `run` would take: label a few pictures as one worker does, into a temporary store.

    Args:
        source, recipe, k, rows_per_shard, batch_size, compiled: as for `run`.
        pictures: size of the collection to estimate for; default: that of the source.
        workers: how many will work on this machine.
        on_pictures: called after each shard of the probe with its number of pictures.

    Raises:
        AnnotateError: the network cannot be built or has no faithful dense answer.

    With two pictures below images/, and a checkpoint for 10 classes:

    >>> from pathlib import Path
    >>> from annotate import Recipe, open_images, plan
    >>> recipe = Recipe.for_model(
    ...     "test_resnet", checkpoint=Path("weights.safetensors"), input_size=(64, 64), model_kwargs={"num_classes": 10}
    ... )
    >>> found = plan(open_images("images"), recipe, compiled=False, pictures=1_281_167)
    >>> found.shards, found.why
    (1252, 'networks run uncompiled')
    """
    count = len(source.keys) if pictures is None else pictures
    with one_thread():
        annotator = Annotator(recipe, k=k)
        why = "networks are compiled" if compiled else "networks run uncompiled"
        if compiled is None:
            compiled, why = is_worth_compiling(count, annotator.seconds)
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
        execution = Execution(batch_size=batch_size, compiled=compiled)
        job = LabelJob(reader=source.reader, address=address, recipe=recipe, k=k, execution=execution)
        label = job.start()
        seconds, labelled, written = [], 0, 0
        for number, chosen in enumerate(rows):
            handles = [source.handles[int(row)] for row in chosen]
            started = time.monotonic()
            record = label(Shard(store.rows_of(number), handles))
            seconds.append(time.monotonic() - started)
            labelled += record.labelled
            on_pictures(size)
            written += sum(len(store.backend.read_object(name) or b"") for name in record.objects)
    speeds = sorted(size / each for each in seconds[1:])
    each = written / (size * len(rows))
    return Plan(
        pictures=count,
        shards=-(-count // (rows_per_shard or rows_of_shards(count))),
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
