"""How fast is a network alone, and in `annotate run`? On a GPU, or at tiny sizes on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from annotate.images import FolderImages
from annotate.jobs.execution import Execution
from annotate.jobs.labelling.label_job import decoders
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers, ShardOutcome
from annotate.model.compilation import compiled
from annotate.model.dense import DenseClassifier
from annotate.model.network import Network
from annotate.model.recipe import Recipe
from benchmarks.gpu.apart import Found, Say
from storage import Schema, create_store

_K = 5


@dataclass(frozen=True, slots=True)
class Speed:
    """Pictures a second of a network alone and in `annotate run`, as far as they were measured.

    limit:    what the arithmetic allows: the rate of a large matrix product on the same device, over a picture's own
    bare:     by whether it was compiled, and the size of the batch; None where that does not fit
    labelled: by whether it was compiled, and the size of the batch
    why:      why no more was measured
    """

    name: str
    size: int
    limit: float | None
    bare: dict[tuple[bool, int], float | None]
    labelled: dict[tuple[bool, int], float]
    why: str

    @classmethod
    def of(cls, name: str, size: int, found: Found, matrix: float | None) -> Speed:
        """From what `measure` said, and the rate of a matrix product."""
        limit = matrix / found.values["flops"] if matrix and "flops" in found.values else None
        kinds: dict[str, dict[tuple[bool, int], Any]] = {"bare": {}, "labelled": {}}
        for key, rate in found.values.items():
            if key != "flops":
                kinds[key[0]][key[1:]] = rate
        return cls(name, size, limit, kinds["bare"], kinds["labelled"], found.why)

    @property
    def rows(self) -> list[list[str]]:
        """The rows of the table of shares: uncompiled and compiled, each at its best size of batch."""
        rows = []
        for is_compiled in (False, True):
            rates = {batch: rate for (way, batch), rate in self.bare.items() if way == is_compiled and rate}
            batch = max(rates, key=rates.__getitem__, default=0)
            alone, labelled = rates.get(batch), self.labelled.get((is_compiled, batch))
            how = "compiled" if is_compiled else "uncompiled"
            share = f"{labelled / alone:.2f}" if labelled and alone else "not reached"
            figures = [figure(each) for each in (self.limit, alone, labelled)]
            rows.append([f"{self.name} at {self.size}", f"{how}, {batch}" if batch else how, *figures, share])
        return rows


def figure(rate: float | None) -> str:
    """As in a table; empty where it was not measured."""
    return f"{rate:,.0f}" if rate else ""


def matrix_rate(say: Say, *, device: str, side: int) -> None:
    """Operations a second of a product of two square bfloat16 matrices."""
    one = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    say("rate", 2 * side**3 * _rate(lambda: one @ one, device, seconds=1.0))


def measure(
    say: Say, *, name: str, size: int, folder: Path, images: Path, device: str, batches: Sequence[int], pictures: int
) -> None:
    """Measure a network with random weights: first what takes little time, so that an early end loses the rest alone.

    Args:
        say: is told "flops", the operations for a picture; and pictures a second of ("bare", compiled, batch), None
            where it does not fit, and of ("labelled", compiled, batch).
        name: timm's name of the network.
        size: height and width of its input.
        folder: for weights and stores.
        images: JPEG files.
        device: "cuda" or "cpu".
        batches: sizes of batches to try, ascending; compiled, and in `annotate run`, the best of them.
        pictures: how many there are.
    """
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    weights = folder / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, weights)
    try:
        network = Network.of(name, checkpoint=weights, input_size=(size, size))
        provenance = network.provenance(model)
        model = model.to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            one = torch.zeros(1, 3, size, size, device=device)
            with FlopCounterMode(display=False) as counter:
                model(one)
            say("flops", counter.get_total_flops())
            answer = DenseClassifier(model, name)(one)
            rates = {}
            for batch in batches:
                rates[batch] = _bare(model, batch, size, device)
                say(("bare", False, batch), rates[batch])
                if rates[batch] is None:
                    break
        best = max(rates, key=lambda batch: rates[batch] or 0)
        job = _Job(network, provenance, tuple(answer.shape[1:]), best, folder, images, pictures)
        model = model.cpu()  # leaves its memory to `annotate run`
        if rates[best]:
            say(("labelled", False, best), job.labelled(rates[best] or 0, is_compiled=False))
            with torch.inference_mode():
                rate = _bare(compiled(model.to(device)), best, size, device)
            say(("bare", True, best), rate)
            model = model.cpu()
            torch.compiler.reset()
            if rate:
                say(("labelled", True, best), job.labelled(rate, is_compiled=True))
    finally:
        weights.unlink()


@dataclass(frozen=True)
class _Job:
    """A collection that is labelled by `annotate run`.

    The store is made beforehand: for a new one, `annotate run` measures the network on one core first, for minutes if
    it is large, which is no part of its speed.
    """

    network: Network
    provenance: dict[str, Any]
    answer: tuple[int, int, int]
    batch: int
    folder: Path
    images: Path
    pictures: int

    def labelled(self, rate: float, *, is_compiled: bool) -> float:
        """Pictures a second from the end of the first shard to that of the last, of about ten seconds.

        Args:
            rate: pictures a second of the network alone.
            is_compiled: whether to compile it.
        """
        source = FolderImages(self.images)
        recipe = Recipe(networks=(self.network,), precision="bfloat16" if torch.cuda.is_available() else "float32")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        *grid, class_count = self.answer
        rows_per_shard = max(self.batch, min(self.pictures // 16, int(2 * rate)))
        execution = Execution(batch_size=self.batch, compiled=is_compiled)
        networks = [{**self.provenance, "grid_boxes": [[0.0, 0.0, 1.0, 1.0]]}]
        schema = Schema(
            grid=(grid[0], grid[1]),
            k=_K,
            class_count=class_count,
            rows_per_shard=rows_per_shard,
            recipe=recipe.to_json(),
            provenance={"networks": networks, **execution.to_json()},
        )
        address = str(self.folder / f"{self.network.model}-{rows_per_shard}-{is_compiled}.zarr")
        store = create_store(address, schema, source.keys)
        workers = _Timed()
        enough = min(store.shard_count, max(3, round(10 * rate / rows_per_shard)))
        run(source, address, recipe, workers, part=range(enough))
        return workers.rate()


class _Timed(LocalWorkers):
    """Local workers that note when each shard ended."""

    def __init__(self) -> None:
        super().__init__()
        self._ended: list[tuple[float, int]] = []

    def map(self, *args, **named):  # type: ignore[no-untyped-def]
        for outcome in super().map(*args, **named):
            self._note(outcome)
            yield outcome

    def _note(self, outcome: ShardOutcome) -> None:
        if outcome.record is None:
            raise RuntimeError(outcome.error)
        self._ended.append((time.monotonic(), len(outcome.shard.rows)))

    def rate(self) -> float:
        """Pictures a second after the first shard."""
        return sum(count for _, count in self._ended[1:]) / (self._ended[-1][0] - self._ended[0][0])


def _bare(model: Callable[[torch.Tensor], torch.Tensor], batch: int, size: int, device: str) -> float | None:
    """Pictures a second of the forward pass; None if the batch does not fit."""
    with suppress(torch.OutOfMemoryError):
        pixels = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            return batch * _rate(lambda: model(pixels), device, seconds=1.5)
    return None


def _rate(do: Callable[[], object], device: str, *, seconds: float) -> float:
    """How often a second it is done, after two times that do not count; a GPU is given several at once."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    do()
    wait()
    started = time.perf_counter()
    do()
    wait()
    # A GPU needs others that wait behind the first, but they must not take long.
    at_once = max(1, min(10, int(seconds / 2 / (time.perf_counter() - started)))) if device == "cuda" else 1
    done, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < (seconds if device == "cuda" else 0.2) or not done:
        for _ in range(at_once):
            do()
        wait()
        done += at_once
    return done / taken


def cores() -> int:
    """Threads that decode for the device in hand."""
    return decoders("cuda" if torch.cuda.is_available() else "cpu")
