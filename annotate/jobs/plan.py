"""How long will a job take, and how large will its store be? Estimated by labelling a few of its pictures."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from annotate.cores import usable_cores
from annotate.errors import AnnotateError
from annotate.images.source import ImageSource
from annotate.jobs.alone import (
    OF_A_PROCESS,
    Part,
    networks_alone,
    rates_on_a_gpu,
    seconds_of_reading,
    seconds_of_writing,
)
from annotate.jobs.execution import Execution
from annotate.jobs.labelling.label_job import LabelJob, one_thread
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.resume import rows_of_shards
from annotate.locality import Locality
from annotate.locality.before_job import locality_of_job
from annotate.model.annotator import Annotator
from annotate.model.compilation import is_worth_compiling
from annotate.model.recipe import Recipe
from annotate.text import duration, size
from storage import Schema, create_store

_SHARDS, _ROWS = 6, 16  # size of the probe; one more shard before these only warms up
PROBED = (1 + _SHARDS) * _ROWS  # pictures
_BYTES_A_KEY = 60  # size in the key column and its index, for names of some 30 letters


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An estimate of what labelling a collection takes.

    pictures, shards: how many there are
    bytes:    size of the finished store
    bytes_each: size of one picture's label, the mean over the probe
    speeds:   pictures a second of one worker, by shard of the probe: the lowest, the median, the highest; pictures that
              cannot be labelled do not count. On a GPU, where the probe's shards are too small to keep it busy, the
              median is what `binds` allows, and the others differ from it as in the probe
    workers:  how many will work on this machine
    device:   where the probe ran: "cpu", or the name of the GPU
    unreadable: pictures of the probe that could not be labelled
    probed:   how many pictures the probe had
    why:      whether the networks are compiled and why, as a sentence
    core_seconds: a core's time for one picture, to read, decode, resize, code and write it
    gpu_speed: pictures a second of the networks alone on one GPU; None without a GPU
    cores:    that each GPU has here, or without a GPU each worker
    processes: that share a GPU
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
    processes: float = 1.0
    locality: Locality | None = field(default=None, repr=False)

    @property
    def cores_needed(self) -> float | None:
        """Cores that keep one GPU busy; None without a GPU."""
        return None if self.gpu_speed is None else self.gpu_speed * self.core_seconds

    @property
    def rates(self) -> dict[Part, float]:
        """Pictures a second of one GPU if only this part limits it; empty without a GPU."""
        if self.gpu_speed is None:
            return {}
        return rates_on_a_gpu(self.gpu_speed, self.core_seconds, self.cores, self.processes)

    @property
    def binds(self) -> Part:
        """What decides the speed: the networks, what cores do beside them, or what one process can decode."""
        if rates := self.rates:
            return min(rates, key=rates.__getitem__)
        return "network" if self.core_seconds * self.speeds[1] < 0.5 else "cores"

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
        needed, rates, binds = math.ceil(self.cores_needed), self.rates, self.binds
        words = (
            f"a GPU alone labels {self.gpu_speed:,.0f} pictures a second, and needs {needed} core{'s' * (needed != 1)} "
            f"to read, decode and write them; here it has {self.cores:g}, so "
        )
        if binds == "network":
            return f"{words}the GPU decides the speed"
        if binds == "cores":
            return f"{words}the cores decide the speed: {rates['cores']:,.0f} pictures a second"
        enough = math.ceil(min(rates["network"], rates["cores"]) / OF_A_PROCESS)
        return (
            f"{words.removesuffix(', so ')}. But one process decodes about {OF_A_PROCESS:,} a second at most, which "
            f"decides the speed; --gpus-per-worker {math.floor(100 / enough) / 100:g} lets {enough} share a GPU"
        )


def plan(
    source: ImageSource,
    recipe: Recipe,
    *,
    k: int | None = None,
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
        k = annotator.k
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
        gpus, gpu_speed = torch.cuda.device_count(), None
        with one_thread():
            core_seconds, prepared = seconds_of_reading(source, annotator, rows[0].tolist())
            core_seconds += seconds_of_writing(store)
            if gpus and prepared:
                device = Annotator(
                    recipe, k=k, device="cuda", compile_for=execution.compile_for, measured=annotator.provenance
                )
                gpu_speed = networks_alone(device, prepared, batch_size)
    speeds.sort()
    cores, processes = usable_cores() / gpus if gpus else 1.0, max(1.0, workers / gpus) if gpus else 1.0
    if gpu_speed is not None:
        allowed = min(rates_on_a_gpu(gpu_speed, core_seconds, cores, processes).values()) / processes
        speeds = [speed * allowed / statistics.median(speeds) for speed in speeds]
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
        gpu_speed=gpu_speed,
        cores=cores,
        processes=processes,
        locality=locality_of_job(source, annotator, count),
    )


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.3f}"
