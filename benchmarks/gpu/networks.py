"""How fast is a network alone, and in `annotate run`? On a GPU, or at tiny sizes on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from annotate.images import FolderImages
from annotate.jobs.labelling.label_job import decoders
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers, ShardOutcome
from annotate.model.compilation import compiled
from annotate.model.network import Network
from annotate.model.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Speed:
    """Pictures a second of a network alone and in `annotate run`, None where it was not reached or did not fit.

    limit: what the arithmetic allows: the rate of a large matrix product on the same device, over a picture's own
    """

    name: str
    size: int
    limit: float
    bare: dict[tuple[bool, int], float | None]
    chosen: tuple[bool, int]
    labelled: float | None

    def row(self) -> list[str]:
        """A row of the table of shares."""
        best = self.bare[self.chosen] or 0.0
        is_compiled, batch = self.chosen
        how = f"{'compiled' if is_compiled else 'uncompiled'}, {batch}"
        share = f"{self.labelled / best:.2f}" if self.labelled and best else "not reached"
        labelled = f"{self.labelled:,.0f}" if self.labelled else "not reached"
        return [f"{self.name} at {self.size}", how, f"{self.limit:,.0f}", f"{best:,.0f}", labelled, share]


def matrix_rate(device: str, side: int) -> float:
    """Operations a second of a product of two square bfloat16 matrices."""
    one = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 * _rate(lambda: one @ one, device, seconds=1.0)


def measure(
    name: str,
    size: int,
    *,
    folder: Path,
    images: Path,
    device: str,
    matrix: float,
    batches: Sequence[int],
    pictures: int,
    seconds: float,
) -> Speed:
    """Measure a network with random weights, for about this many seconds.

    Args:
        name: timm's name of the network.
        size: height and width of its input.
        folder: for weights and a store.
        images: JPEG files.
        device: "cuda" or "cpu".
        matrix: as of `matrix_rate`.
        batches: sizes of batches to try, compiled only the best of them.
        pictures: to label.
        seconds: after which no other batch is begun; what was not measured is None.
    """
    until = time.monotonic() + seconds
    torch.manual_seed(0)
    model = timm.create_model(name)
    weights = folder / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, weights)
    model = model.to(device, memory_format=torch.channels_last).eval()
    bare: dict[tuple[bool, int], float | None] = {(False, batch): None for batch in batches}
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, size, size, device=device))
        for batch in batches:
            if time.monotonic() < until or batch == batches[0]:
                bare[False, batch] = _bare(model, batch, size, device)
        best = max(batches, key=lambda batch: bare[False, batch] or 0)
        if time.monotonic() < until:
            bare[True, best] = _bare(compiled(model), best, size, device)
    del model
    chosen = max(bare, key=lambda way: bare[way] or 0)
    labelled = None
    if time.monotonic() < until:
        labelled = _labelled(name, size, folder, images, weights, chosen, pictures, bare[chosen] or 0.0)
    weights.unlink()
    if device == "cuda":
        torch.cuda.empty_cache()
    return Speed(name, size, matrix / counter.get_total_flops(), bare, chosen, labelled)


def _labelled(
    name: str,
    size: int,
    folder: Path,
    images: Path,
    weights: Path,
    chosen: tuple[bool, int],
    pictures: int,
    rate: float,
) -> float:
    """Pictures a second from the end of the first shard to that of the last; before it, networks are loaded."""
    source = FolderImages(images)
    is_compiled, batch = chosen
    recipe = Recipe(
        networks=(Network.of(name, checkpoint=weights, input_size=(size, size)),),
        precision="bfloat16" if torch.cuda.is_available() else "float32",
    )
    workers = _Timed()
    rows_per_shard = max(batch, pictures // 16)
    shards = -(-pictures // rows_per_shard)
    enough = min(shards, max(3, round(10 * rate / rows_per_shard)))  # of ten seconds
    run(
        source,
        str(folder / f"{name}-{size}.zarr"),
        recipe,
        workers,
        rows_per_shard=rows_per_shard,
        part=range(enough),
        batch_size=batch,
        compiled=is_compiled,
    )
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
    try:
        pixels = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            return batch * _rate(lambda: model(pixels), device, seconds=2.0)
    except torch.OutOfMemoryError:
        return None


def _rate(do: Callable[[], object], device: str, *, seconds: float) -> float:
    """How often a second it is done, after a first time; a GPU is given ten at once."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    at_once = 10 if device == "cuda" else 1
    do()
    wait()
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
