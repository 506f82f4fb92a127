"""What does one worker do with one shard? Read, decode, label, write, and say in a few words how it went."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from annotate.annotator import Annotator, Prepared
from annotate.decode import decode
from annotate.errors import AnnotateError, PictureError
from annotate.images.source import PictureReader
from annotate.patience import PatientReader
from annotate.recipe import Recipe
from annotate.shard import Shard, finish
from storage import LabelMap, Record, Status, open_store


@dataclass(frozen=True, kw_only=True)
class LabelJob:
    """All that a worker needs to label shards: picklable, and small.

    On the CPU a worker's network has one thread: the number of threads may move the last bit of a sum, so that labels
    would depend on the machine. More speed comes from more workers.
    """

    reader: PictureReader
    address: str
    recipe: Recipe
    k: int
    batch_size: int = 32
    compiled: bool = False
    run: str = ""

    def start(self) -> Callable[[Shard], Record]:
        """Open the store and load the networks, once; the function that labels a shard and writes it."""
        store = open_store(self.address, writable=True)
        # Asked here: the driver's machine may have no GPU where the worker's has one.
        device = "cuda" if torch.cuda.is_available() else "cpu"
        known = store.schema.provenance.get("networks")
        with one_thread():
            annotator = Annotator(
                self.recipe,
                k=self.k,
                device=device,
                compile_for=self.batch_size if self.compiled else None,
                measured=known,
            )
        self._refuse_differences(annotator, known)
        if (annotator.grid, annotator.class_count) != (store.schema.grid, store.schema.class_count):
            raise AnnotateError(
                f"the model answers with {annotator.class_count} classes on a {annotator.grid} grid, the store "
                f"{self.address} was made for {store.schema.class_count} on {store.schema.grid}"
            )
        reader = PatientReader(self.reader)
        decoders = ThreadPoolExecutor(_decoders(device), "decoder", torch.set_num_threads, (1,))

        about = {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "compiled": self.compiled}

        def make(shard: Shard) -> tuple[LabelMap, dict[int, str]]:
            with one_thread():
                return label_shard(annotator, reader, shard, self.batch_size, decoders)

        return lambda shard: finish(store, shard, make, run=self.run, about=about)

    def _refuse_differences(self, annotator: Annotator, expected: Any) -> None:
        """The weights that timm downloads may change; a store's labels are all of the same."""
        for network, found, known in zip(self.recipe.networks, annotator.provenance, expected or (), strict=False):
            if found["state"] != known.get("state"):
                raise AnnotateError(
                    f"the weights of {network.model} are not those that {self.address} was begun with: SHA-256 of what "
                    f"was loaded is {found['state']}, the store has {known.get('state')}; give the file of the earlier "
                    "ones with --checkpoint FILE, or make another store"
                )


def label_shard(
    annotator: Annotator,
    reader: PictureReader,
    shard: Shard,
    batch_size: int,
    decoders: ThreadPoolExecutor,
) -> tuple[LabelMap, dict[int, str]]:
    """The labels of a shard's pictures, in order, and the reason for each row that has none.

    Pictures are read, decoded and fitted by other threads while the network has the batch before them, and a GPU works
    on one batch while the next is sent to it.
    """
    labels: dict[int, LabelMap] = {}
    reasons: dict[int, str] = {}
    at_work: deque[tuple[list[int], Callable[[], LabelMap]]] = deque()

    def finish() -> None:
        rows, answers = at_work.popleft()
        made = answers()
        labels.update((row, made[n]) for n, row in enumerate(rows))

    def send(batch: list[tuple[int, Prepared]]) -> None:
        at_work.append(([row for row, _ in batch], annotator.start([picture for _, picture in batch])))
        if len(at_work) > 1:
            finish()

    def make_ready(handle: Any) -> Prepared:
        return annotator.prepare(decode(reader.read(handle), exif=annotator.recipe.exif))

    batch: list[tuple[int, Prepared]] = []
    for row, picture in zip(shard.rows, _ahead(decoders, make_ready, shard.handles, 2 * batch_size), strict=True):
        try:
            batch.append((row, picture.result()))
        except PictureError as error:
            labels[row] = LabelMap.unlabelled(
                Status(error.status), grid=annotator.grid, k=annotator.k, class_count=annotator.class_count
            )
            reasons[row] = error.reason
        if len(batch) == batch_size:
            send(batch)
            batch = []
    if batch:
        send(batch)
    while at_work:
        finish()
    return LabelMap.stack([labels[row] for row in shard.rows]), reasons


def _ahead(
    pool: ThreadPoolExecutor, do: Callable[[Any], Prepared], items: Sequence[Any], ahead: int
) -> Iterator[Future[Prepared]]:
    """What `do` makes of each item, in order, with no more than so many of them done or waiting beforehand."""
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
    """Threads that decode: one beside a network on the CPU, whose cores have workers of their own; more for a GPU."""
    if device == "cpu":
        return 1
    return min(8, max(1, (os.cpu_count() or 1) // torch.cuda.device_count()))


@contextmanager
def one_thread() -> Iterator[None]:
    """What torch does here is done by one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
