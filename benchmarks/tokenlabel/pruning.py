"""What does dropping tokens save? Operations and pictures a second of LV-ViT-S against its DynamicViT versions.

`python -m benchmarks.tokenlabel.pruning`

Random weights: which tokens are dropped changes nothing that is measured here. Multiply-adds are those of matrix
products and convolutions in one forward pass of a picture, counted by torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import timm
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import tokenlabel.models  # noqa: F401 registers its students with timm
from benchmarks.rounds import Rows, Timing, take_turns
from demo.markdown import section

BASE = "lvvit_s"
PRUNED = ("dynamicvit_lvvit_s_07", "dynamicvit_lvvit_s_05")


@dataclass(frozen=True, slots=True)
class Saved:
    """Of each network, [0] the un-pruned one: billions of multiply-adds a picture, and times a picture."""

    batch: int
    operations: list[float]
    timings: list[Timing]

    def describe(self) -> str:
        """A table."""
        whole = self.operations[0]
        rows = [
            [
                timing.name,
                f"{count:.2f}",
                f"{100 * (1 - count / whole):.0f} %",
                f"{1 / timing.median:.1f}",
                str(timing.rate_against(self.timings[0])),
                str(timing.processor_rate_against(self.timings[0])),
            ]
            for count, timing in zip(self.operations, self.timings, strict=True)
        ]
        head = ["", "GMACs", "fewer", "pictures a second", "rate against un-pruned", "by processor time"]
        return section(
            f"Evaluation in batches of {self.batch}, float32, one thread of the CPU",
            head,
            rows,
            f"Medians over {len(self.timings[0].seconds)} rounds in turns, and in brackets the middle half of them.",
        )


def measure(names: Sequence[str] = (BASE, *PRUNED), *, size: int = 224, batch: int = 8, rounds: int = 9) -> Saved:
    """Evaluate each network on noise, in turns.

    Args:
        names: networks of timm's; the others are compared with the first.
        size: height and width of the pictures, pixels.
        batch: pictures at once.
        rounds: turns of each network.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks = {name: timm.create_model(name, img_size=size).eval() for name in names}
    pixels = torch.randn(batch, 3, size, size)

    def evaluate(network: Any) -> None:
        with torch.inference_mode():
            network(pixels)

    ways = {name: lambda _, network=network: evaluate(network) for name, network in networks.items()}

    def rows() -> Rows:
        return np.arange(batch)

    timings = take_turns(ways, rows, rounds=rounds, of="evaluations")
    return Saved(batch, [multiply_adds(network, pixels[:1]) / 1e9 for network in networks.values()], timings)


def multiply_adds(network: torch.nn.Module, pixels: torch.Tensor) -> float:
    """Multiply-adds of matrix products and convolutions in a forward pass."""
    # As products of matrices: torch does not count all of its fused kernels of attention.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(pixels)
    return counter.get_total_flops() / 2


@click.command()
@click.option("--batch", default=8, show_default=True)
@click.option("--rounds", default=9, show_default=True)
def main(batch: int, rounds: int) -> None:
    """Measure, and print a table."""
    print(measure(batch=batch, rounds=rounds).describe())


if __name__ == "__main__":
    main()
