"""How fast is each part of labelling alone: the networks, and what cores do beside them? The slowest decides."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from annotate.errors import PictureError
from annotate.images.source import ImageSource
from annotate.model.annotator import Annotator, Prepared
from storage import LabelStore

OF_A_PROCESS = 2000  # pictures a second: what Python's lock leaves to the threads of a process; docs/performance.md
Part = Literal["network", "cores", "process"]


def rates_on_a_gpu(gpu_speed: float, core_seconds: float, cores: float, processes: float) -> dict[Part, float]:
    """Pictures a second that one GPU labels if only this part limits it; see `Plan` for what is given."""
    return {
        "network": gpu_speed,
        "cores": cores / core_seconds if core_seconds else math.inf,
        "process": OF_A_PROCESS * processes,
    }


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


def seconds_of_reading(source: ImageSource, annotator: Annotator, rows: Sequence[int]) -> tuple[float, list[Prepared]]:
    """Processor time to read, decode and resize one picture, and those that could be.

    It is that of this thread: torch must not have more of them.
    """
    prepared, started = [], time.thread_time()
    for row in rows:
        with suppress(PictureError):
            picture = annotator.recipe.decode(source.reader.read(source.handles[row]))
            prepared.append(annotator.prepare(picture))
    return (time.thread_time() - started) / max(1, len(prepared)), prepared


def seconds_of_writing(store: LabelStore) -> float:
    """Processor time to code and write one label, as a part of its shard."""
    rows, record = store.rows_of(1), store.record(1)
    labels, reasons = store.read(rows), {each.row: each.reason for each in record.failures} if record else {}
    started = time.thread_time()
    store.write(rows, labels, reasons=reasons)
    return (time.thread_time() - started) / len(rows)
