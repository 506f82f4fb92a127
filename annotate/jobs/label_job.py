"""What does one worker do with one shard? Read, decode, label, write, and return a short record of it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch

from annotate.errors import AnnotateError, PictureError
from annotate.images.decode import decode
from annotate.images.source import PictureReader
from annotate.images.waiting_reader import WaitingReader
from annotate.jobs.execution import Execution
from annotate.jobs.shard import Shard, commit_shard
from annotate.jobs.shard_labels import ShardLabels
from annotate.model.annotator import Annotator, Prepared
from annotate.model.recipe import Recipe
from storage import LabelMap, Record, open_store


@dataclass(frozen=True, kw_only=True)
class LabelJob:
    """All that a worker needs to label shards: picklable, and small.

    reader:    reads the pictures
    address:   of the store, which exists
    recipe, k: the networks, how they are used, and the classes to keep at each location
    execution: the batch size, and whether the networks are compiled
    run:       the name of the run, by which it recognises its own commit records

    On the CPU a worker's network has one thread: the number of threads may change the last bit of a sum, so that labels
    would depend on the machine. More speed comes from more workers.
    """

    reader: PictureReader
    address: str
    recipe: Recipe
    k: int
    execution: Execution = field(default_factory=Execution)
    run: str = ""

    def start(self) -> Callable[[Shard], Record]:
        """Open the store and load the networks, once; returns the function that labels a shard and writes it."""
        store = open_store(self.address, writable=True)
        # Decided here: the driver's machine may have no GPU while the worker's has one.
        device = "cuda" if torch.cuda.is_available() else "cpu"
        expected = store.schema.provenance.get("networks")
        with one_thread():
            annotator = Annotator(
                self.recipe, k=self.k, device=device, compile_for=self.execution.compile_for, measured=expected
            )
        self._refuse_differences(annotator, expected)
        if (annotator.grid, annotator.class_count) != (store.schema.grid, store.schema.class_count):
            raise AnnotateError(
                f"cannot label into {self.address}: the model gives {annotator.class_count} classes on a grid of "
                f"{annotator.grid}, the store was made for {store.schema.class_count} on {store.schema.grid}"
            )
        reader = WaitingReader(self.reader)
        decoders = ThreadPoolExecutor(_decoders(device), "decoder", torch.set_num_threads, (1,))
        name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
        about = {"device": name, "compiled": self.execution.compiled}

        def make(shard: Shard) -> tuple[LabelMap, dict[int, str]]:
            with one_thread():
                return label_shard(annotator, reader, shard, self.execution.batch_size, decoders)

        return lambda shard: commit_shard(store, shard, make, run=self.run, about=about)

    def _refuse_differences(self, annotator: Annotator, expected: Any) -> None:
        """Check that the weights are those of the store's other labels: what timm downloads may change."""
        for network, found, known in zip(self.recipe.networks, annotator.provenance, expected or (), strict=False):
            if found["state"] != known.get("state"):
                raise AnnotateError(
                    f"the weights of {network.model} are not those that {self.address} was begun with: the SHA-256 of "
                    f"the loaded weights is {found['state']}, the store has {known.get('state')}; give the file of the "
                    "earlier weights with --checkpoint FILE, or make another store"
                )


def label_shard(
    annotator: Annotator,
    reader: PictureReader,
    shard: Shard,
    batch_size: int,
    decoders: ThreadPoolExecutor,
) -> tuple[LabelMap, dict[int, str]]:
    """The labels of a shard's pictures, in order, and the reason for each row without a label.

    Other threads read, decode and resize pictures while the network works on the batch before, and a GPU works on one
    batch while the next is sent to it.
    """
    labels = ShardLabels(shard.rows, annotator)
    started: deque[tuple[list[int], Callable[[], LabelMap]]] = deque()

    def collect() -> None:
        rows, wait = started.popleft()
        labels.write(rows, wait())

    def send(batch: list[tuple[int, Prepared]]) -> None:
        started.append(([row for row, _ in batch], annotator.start([picture for _, picture in batch])))
        if len(started) > 1:
            collect()

    def prepare(handle: Any) -> Prepared:
        return annotator.prepare(decode(reader.read(handle), exif=annotator.recipe.exif))

    batch: list[tuple[int, Prepared]] = []
    for row, picture in zip(shard.rows, _ahead(decoders, prepare, shard.handles, 2 * batch_size), strict=True):
        try:
            batch.append((row, picture.result()))
        except PictureError as error:
            labels.leave_out(row, error)
        if len(batch) == batch_size:
            send(batch)
            batch = []
    if batch:
        send(batch)
    while started:
        collect()
    return labels.label_map(), labels.reasons


def _ahead(
    pool: ThreadPoolExecutor, do: Callable[[Any], Prepared], items: Sequence[Any], ahead: int
) -> Iterator[Future[Prepared]]:
    """The result of `do` for each item, in order; at most `ahead` of them are computed or queued in advance."""
    coming = iter(items)
    waiting = deque(pool.submit(do, item) for item in islice(coming, ahead))
    try:
        while waiting:
            yield waiting.popleft()
            waiting.extend(pool.submit(do, item) for item in islice(coming, 1))
    finally:
        for future in waiting:
            future.cancel()


def _decoders(device: str) -> int:
    """How many threads decode: one on the CPU, where each core has its own worker; more for a GPU."""
    if device == "cpu":
        return 1
    return min(8, max(1, (os.cpu_count() or 1) // torch.cuda.device_count()))


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread during the `with` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
