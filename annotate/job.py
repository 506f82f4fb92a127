"""What does one worker do with one shard? Read, decode, label, write, and say in a few words how it went."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from annotate.annotator import Annotator
from annotate.decode import decode
from annotate.errors import AnnotateError, PictureError
from annotate.images.source import PictureReader
from annotate.recipe import Recipe
from storage import LabelMap, Record, Status, open_store


@dataclass(frozen=True, slots=True)
class Shard:
    """One task: the rows of a shard, the key of each, and which attempt this is."""

    rows: range
    keys: Sequence[str]
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class LabelJob:
    """All that a worker needs to label shards: picklable, and small.

    On the CPU a worker has one thread: the number of threads may move the last bit of a sum, so that labels would
    depend on the machine. More speed comes from more workers.
    """

    reader: PictureReader
    address: str
    recipe: Recipe
    k: int
    checkpoint: Path | None = None
    batch_size: int = 32

    def start(self) -> Callable[[Shard], Record]:
        """Open the store and load the network, once; the function that labels a shard and writes it."""
        store = open_store(self.address, writable=True)
        # Asked here: the driver's machine may have no GPU where the worker's has one.
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with _one_thread():
            annotator = Annotator(self.recipe, k=self.k, checkpoint=self.checkpoint, device=device)
        if (annotator.grid, annotator.class_count) != (store.schema.grid, store.schema.class_count):
            raise AnnotateError(
                f"the model answers with {annotator.class_count} classes on a {annotator.grid} grid, the store "
                f"{self.address} was made for {store.schema.class_count} on {store.schema.grid}"
            )

        def label(shard: Shard) -> Record:
            started = time.monotonic()
            with _one_thread():
                labels, reasons = label_shard(annotator, self.reader, shard, self.batch_size)
            run = {
                "attempt": shard.attempt,
                "seconds": round(time.monotonic() - started, 3),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "worker": f"{platform.node()}:{os.getpid()}",
                "device": device,
            }
            return store.write(shard.rows, labels, reasons=reasons, run=run)

        return label


def label_shard(
    annotator: Annotator, reader: PictureReader, shard: Shard, batch_size: int
) -> tuple[LabelMap, dict[int, str]]:
    """The labels of a shard's pictures, in order, and the reason for each row that has none."""
    labels: dict[int, LabelMap] = {}
    reasons: dict[int, str] = {}
    batch: list[tuple[int, NDArray[np.uint8]]] = []

    def flush() -> None:
        if batch:
            answers = annotator([picture for _, picture in batch])
            labels.update((row, answers[n]) for n, (row, _) in enumerate(batch))
            batch.clear()

    for row, key in zip(shard.rows, shard.keys, strict=True):
        try:
            batch.append((row, decode(reader.read(key))))
        except PictureError as error:
            labels[row] = LabelMap.unlabelled(
                Status(error.status), grid=annotator.grid, k=annotator.k, class_count=annotator.class_count
            )
            reasons[row] = error.reason
        if len(batch) == batch_size:
            flush()
    flush()
    return LabelMap.stack([labels[row] for row in shard.rows]), reasons


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
