"""How long will a job take, and how large will its store be? Estimated by labelling a few of its pictures."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from annotate.cores import usable_cores
from annotate.errors import AnnotateError, PictureError
from annotate.images.source import ImageSource
from annotate.jobs.execution import Execution
from annotate.jobs.labelling.label_job import LabelJob, one_thread
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.resume import rows_of_shards
from annotate.locality import Locality
from annotate.locality.before_job import locality_of_job
from annotate.model.annotator import Annotator, Prepared
from annotate.model.compilation import is_worth_compiling
from annotate.model.recipe import Recipe
from annotate.text import duration, size
from storage import LabelStore, Schema, create_store

_SHARDS, _ROWS = 6, 16  # size of the probe; one more shard before these only warms up
PROBED = (1 + _SHARDS) * _ROWS  # pictures
OF_A_PROCESS = 2000  # pictures a second: what Python's lock leaves to the threads of a process; docs/performance.md
_BYTES_A_KEY = 60  # size in the key column and its index, for names of some 30 letters


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An estimate of what labelling a collection takes.

    pictures, shards: how many there are
    bytes:    size of the finished store
    bytes_each: size of one picture's label, the mean over the probe
    speeds:   pictures a second of one worker, by shard of the probe: the lowest, the median, the highest; pictures that
              cannot be labelled do not count
    workers:  how many will work on this machine
    device:   where the probe ran: "cpu", or the name of the GPU
    unreadable: pictures of the probe that could not be labelled
    probed:   how many pictures the probe had
    why:      whether the networks are compiled and why, as a sentence
    core_seconds: a core's time for one picture, to read, decode, resize, code and write it
    gpu_speed: pictures a second of the networks alone on one GPU; None without a GPU
    cores:    that each worker has here for all but the networks
    locality: how far labels depend on their own location alone; None where it was not asked for
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
    core_seconds: float = 0.0
    gpu_speed: float | None = None
    cores: float = 1.0
    locality: Locality | None = field(default=None, repr=False)

    @property
    def cores_needed(self) -> float | None:
        """Cores that keep one GPU busy; None without a GPU."""
        return None if self.gpu_speed is None else self.gpu_speed * self.core_seconds

    @property
    def binds(self) -> Literal["network", "cores"]:
        """What decides the speed: the networks, or all that the cores do beside them."""
        if self.cores_needed is None:
            return "network" if self.core_seconds * self.speeds[1] < 0.5 else "cores"
        return "network" if self.cores_needed <= self.cores else "cores"

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
            "binds": self.binds,
            "core_per_second": round(1 / self.core_seconds, 1) if self.core_seconds else None,
            "gpu_per_second": None if self.gpu_speed is None else round(self.gpu_speed, 1),
            "cores_needed": None if self.cores_needed is None else round(self.cores_needed, 1),
            "locality": None if self.locality is None else self.locality.to_json(),
        }

    def describe(self) -> str:
        """A few lines of text for the user."""
        low, middle, high = self.hours
        unit = "core-hours" if self.device == "cpu" else f"GPU-hours on {self.device}"
        lines = [
            f"{self.pictures:,} pictures in {self.shards:,} shards",
            f"{size(self.bytes)} of labels, {self.bytes_each:,.0f} bytes a picture",
            self.why,
            f"{_hours(middle)} {unit} ({_hours(low)} to {_hours(high)}), at {self.speeds[1]:,.2f} pictures a second "
            f"for one worker ({self.speeds[0]:,.2f} to {self.speeds[2]:,.2f})",
            f"on this machine with {self.workers} worker{'s' * (self.workers != 1)}: "
            f"{duration(3600 * middle / self.workers)} ({duration(3600 * low / self.workers)} to "
            f"{duration(3600 * high / self.workers)}), provided that they do not slow each other down",
            self._what_binds(),
            f"measured on {self.probed} pictures, without start-up; the ranges are those of the shards of this probe",
        ]
        if self.locality is not None:
            lines.append(self.locality.sentence)
        if self.unreadable:
            lines.append(f"{self.unreadable} of these could not be labelled")
        return "\n".join(lines)

    def _what_binds(self) -> str:
        """What decides the speed, as a sentence."""
        if self.gpu_speed is None or self.cores_needed is None:
            rest = min(1.0, self.core_seconds * self.speeds[1])
            what = "the networks decide" if self.binds == "network" else "reading, decoding and writing decide"
            return f"{what} the speed: of a core's time, the networks take {1 - rest:.0%} and all else {rest:.0%}"
        needed = math.ceil(self.cores_needed)
        words = (
            f"a GPU alone labels {self.gpu_speed:,.0f} pictures a second, and needs {needed} core{'s' * (needed != 1)} "
            f"to read, decode and write them; here a worker has {self.cores:g}, so "
        )
        if self.binds == "cores":
            words += f"the cores decide the speed: {self.cores / self.core_seconds:,.0f} pictures a second"
        else:
            words += "the GPU decides the speed"
        if self.gpu_speed > OF_A_PROCESS:
            words += f"; one process decodes about {OF_A_PROCESS:,} a second at most: --gpus-per-worker 0.5 makes two"
        return words


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
        AnnotateError: the network cannot be built or has no faithful dense answer, or no picture that was tried can be
            labelled.

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
        speeds: list[float] = []
        reasons: dict[str, None] = {}
        labelled = written = 0
        for number, chosen in enumerate(rows):
            handles = [source.handles[int(row)] for row in chosen]
            started = time.monotonic()
            record = label(Shard(store.rows_of(number), handles))
            if number and record.labelled:  # pictures that cannot be read take no time
                speeds.append(record.labelled / (time.monotonic() - started))
            labelled += record.labelled
            reasons |= {failure.reason: None for failure in record.failures}
            on_pictures(size)
            written += sum(len(store.backend.read_object(name) or b"") for name in record.objects)
        if not speeds:
            raise AnnotateError(
                f"cannot plan: {labelled} of the {size * len(rows)} pictures that were tried can be labelled. Reasons: "
                f"{'; '.join([*reasons][:3])}"
            )
        gpu = torch.cuda.is_available()
        core_seconds, prepared = _seconds_of_a_core(source, annotator, rows[0].tolist())
        core_seconds += _seconds_of_writing(store)
        if gpu and prepared:
            with one_thread():
                device = Annotator(
                    recipe, k=k, device="cuda", compile_for=execution.compile_for, measured=annotator.provenance
                )
            speed = networks_alone(device, prepared, batch_size)
    speeds.sort()
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
        core_seconds=core_seconds,
        gpu_speed=speed if gpu and prepared else None,
        cores=usable_cores() / workers if gpu else 1.0,
        locality=locality_of_job(source, annotator, count),
    )


def networks_alone(annotator: Annotator, prepared: Sequence[Prepared], batch_size: int, *, batches: int = 8) -> float:
    """Pictures a second of the networks on batches that are ready, with one batch waiting behind each."""
    batch = [prepared[n % len(prepared)] for n in range(batch_size)]
    annotator.start(batch)()  # compiles, and allocates
    started, waiting = time.monotonic(), annotator.start(batch)
    for _ in range(batches - 1):
        following = annotator.start(batch)
        waiting()
        waiting = following
    waiting()
    return batches * batch_size / (time.monotonic() - started)


def _seconds_of_a_core(source: ImageSource, annotator: Annotator, rows: Sequence[int]) -> tuple[float, list[Prepared]]:
    """Processor time to read, decode and resize one picture, and those that could be."""
    prepared, started = [], time.thread_time()
    for row in rows:
        with suppress(PictureError):
            picture = annotator.recipe.decode(source.reader.read(source.handles[row]))
            prepared.append(annotator.prepare(picture))
    return (time.thread_time() - started) / max(1, len(prepared)), prepared


def _seconds_of_writing(store: LabelStore) -> float:
    """Processor time to code and write one label, as a part of its shard."""
    rows, record = store.rows_of(1), store.record(1)
    labels, reasons = store.read(rows), {each.row: each.reason for each in record.failures} if record else {}
    started = time.thread_time()
    store.write(rows, labels, reasons=reasons)
    return (time.thread_time() - started) / len(rows)


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.3f}"
