"""What does a training step of LV-ViT take, with sparse targets and with dense ones?

`python -m benchmarks.tokenlabel.step`

Both do all of a step: targets to the device, forward, loss, backward, optimizer. On a GPU with bfloat16; peak memory is
known there alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import click
import numpy as np
import timm
import torch

import tokenlabel.models  # noqa: F401 registers its students with timm
from benchmarks.reference import CLASS_COUNT, Maps
from benchmarks.rounds import Rows, Timing, take_turns
from benchmarks.tokenlabel.training import DENSE, KEEP, SPARSE, dense_loss, dense_of
from demo.markdown import section
from storage import LabelMap
from tokenlabel import TokenTargets, View, token_label_loss, token_targets


@dataclass(frozen=True, slots=True)
class Steps:
    """Timings of both kinds of step, [0] the dense one, and their peak memory in bytes, 0 where unknown."""

    device: str
    tokens: int
    timings: list[Timing]
    peaks: list[int]

    def describe(self, model: str, batch: int) -> str:
        """A table."""
        rows = [
            [
                one.name,
                f"{one.median * 1e3:,.0f}",
                f"{batch / one.median:,.0f}",
                f"{batch * self.tokens / one.median:,.0f}",
                f"{peak / 1e9:.1f}" if peak else "",
                str(one.rate_against(self.timings[0])),
            ]
            for one, peak in zip(self.timings, self.peaks, strict=True)
        ]
        return section(
            f"One step of {model}, {batch} pictures, on {self.device}",
            ["", "ms", "pictures a second", "tokens a second", "peak memory, GB", "rate against dense"],
            rows,
            "Dense targets are made beforehand, and moved to the device in the step, as sparse ones are.",
        )


def measure(model: str, batch: int, *, size: int = 224, rounds: int = 12) -> Steps:
    """Train on noise with the labels of the reference maps, with dense and with sparse targets in turns."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    student = timm.create_model(model, img_size=size).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(student.parameters(), 1e-4)
    grid = student.patch_embed.grid_size
    pixels = torch.randn(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    maps = Maps.load()
    labels: LabelMap = maps.labels(batch)
    sparse = token_targets(labels, [View.whole()] * batch, grid, keep=KEEP)
    dense = dense_of(sparse, CLASS_COUNT)
    if device.type == "cuda":
        sparse, dense = sparse.pin_memory(), dense.pin_memory()

    def by_sparse(picture: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        targets: TokenTargets = sparse.to(device, non_blocking=True)
        return token_label_loss(picture, tokens, targets)

    def by_dense(picture: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return dense_loss(picture, tokens, dense.to(device, non_blocking=True))

    peaks: dict[str, int] = {}

    def step(name: str, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            picture, tokens = student(pixels)
        optimizer.zero_grad()
        loss(picture, tokens).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
            peaks[name] = max(peaks.get(name, 0), torch.cuda.max_memory_allocated())

    ways: dict[str, Callable[[Rows], object]] = {
        DENSE: lambda _: step(DENSE, by_dense),
        SPARSE: lambda _: step(SPARSE, by_sparse),
    }
    for way in ways.values():
        way(np.arange(1))  # what is allocated, and chosen, once
    peaks.clear()
    timings = take_turns(ways, lambda: np.arange(1), rounds=rounds, of="steps")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "the CPU, in float32"
    return Steps(name, grid[0] * grid[1], timings, [peaks.get(one.name, 0) for one in timings])


@click.command()
@click.option("--model", default="lvvit_s", show_default=True)
@click.option("--batch", default=256, show_default=True)
@click.option("--size", default=224, show_default=True, help="Height and width of the input, pixels.")
@click.option("--rounds", default=12, show_default=True)
def main(model: str, batch: int, size: int, rounds: int) -> None:
    """Measure, and print a table."""
    print(measure(model, batch, size=size, rounds=rounds).describe(model, batch))


if __name__ == "__main__":
    main()
