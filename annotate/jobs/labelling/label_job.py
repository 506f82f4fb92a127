"""What does one worker do with one shard? Read, decode, label, write, and return a short record of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from annotate.cores import usable_cores
from annotate.errors import AnnotateError
from annotate.images.source import PictureReader
from annotate.images.waiting_reader import WaitingReader
from annotate.jobs.execution import Execution
from annotate.jobs.labelling.lost_device import noticing_a_lost_device
from annotate.jobs.labelling.pipeline import Pipeline
from annotate.jobs.labelling.shard import Shard, commit_shard
from annotate.jobs.labelling.store_there import open_when_there
from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from storage import LabelMap, Record

_MOST_DECODERS = 16  # more would only wait for Python's lock: docs/performance.md


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
        """Open the store and load the networks, once; returns the function that labels a shard and writes it.

        Several threads may call it: then a shard is decoded and labelled while earlier shards are written.
        """
        store = open_when_there(self.address)
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
        pipeline = Pipeline(
            annotator,
            WaitingReader(self.reader),
            batch_size=self.execution.batch_size,
            decoders=decoders(device),
            decode=self.recipe.decode,
        )
        name = torch.cuda.get_device_name() if device == "cuda" else "cpu"

        def label(shard: Shard) -> Record:
            about = {"device": name, "compiled": self.execution.compiled}

            def make(shard: Shard) -> tuple[LabelMap, dict[int, str]]:
                labels, reasons, seconds = pipeline.label(shard)
                about["seconds"] = round(seconds, 3)  # not since this shard began: shards overlap
                return labels, reasons

            with one_thread(), noticing_a_lost_device(device):
                return commit_shard(store, shard, make, run=self.run, about=about)

        return label

    def _refuse_differences(self, annotator: Annotator, expected: Any) -> None:
        """Check that the weights are those of the store's other labels: what timm downloads may change."""
        for network, found, known in zip(self.recipe.networks, annotator.provenance, expected or (), strict=False):
            if found["state"] != known.get("state"):
                raise AnnotateError(
                    f"the weights of {network.model} are not those that {self.address} was begun with: the SHA-256 of "
                    f"the loaded weights is {found['state']}, the store has {known.get('state')}; give the file of the "
                    "earlier weights with --checkpoint FILE, or make another store"
                )


def decoders(device: str) -> int:
    """The number of decoding threads: one on the CPU, where each core has a worker; else the cores divided by the GPUs.

    Ray hides all other GPUs from a worker, so the machine's GPUs are also counted in /proc.
    """
    if device == "cpu":
        return 1
    gpus = max(torch.cuda.device_count(), len([*Path("/proc/driver/nvidia/gpus").glob("*")]))
    return min(_MOST_DECODERS, max(1, usable_cores() // gpus))


_one_thread = Lock()
_inside = 0  # how many threads are inside `one_thread`
_before = 1  # what torch had before the first of them


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread during the `with` block, which several threads may be in at once."""
    # A part of torch has one number for the process, and another has one for each thread.
    global _inside, _before
    with _one_thread:
        if not _inside:
            _before = torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _one_thread:
            _inside -= 1
            if not _inside:
                torch.set_num_threads(_before)
