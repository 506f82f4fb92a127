"""What does the GPU in hand reach? `make gpu`, or `python -m benchmarks.gpu`, writes docs/gpu.md."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from annotate.cores import usable_cores
from benchmarks.gpu import decoding, networks
from benchmarks.tokenlabel import step
from demo.markdown import section

NETWORKS = (
    ("resnet50", 224),
    ("resnet50", 288),
    ("convnext_base", 288),
    ("dm_nfnet_f0", 256),
    ("dm_nfnet_f6", 576),
    ("eva02_base_patch14_448", 448),
    ("eva02_large_patch14_448", 448),
)
BATCHES = (32, 64, 128, 256, 512)
SECONDS = 40.0  # of each network
PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"


def page(
    folder: Path,
    *,
    chosen: Sequence[tuple[str, int]] = NETWORKS,
    batches: Sequence[int] = BATCHES,
    pictures: int = 8192,
    side: int = 8192,
    student: str = "lvvit_s",
    student_batch: int = 256,
    seconds: float = SECONDS,
    decoders: Sequence[int] = (1, 2, 4, 8, 16),
    tasks: int = 64,
) -> str:
    """Measure all, and describe it in Markdown. Pictures, weights and stores lie below the folder meanwhile."""
    began = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    images = write_pictures(folder / "images", pictures)
    matrix = networks.matrix_rate(device, side)
    found = [
        networks.measure(
            network,
            size,
            folder=folder,
            images=images,
            device=device,
            matrix=matrix,
            batches=batches,
            pictures=pictures,
            seconds=seconds,
        )
        for network, size in chosen
    ]
    counts = [count for count in decoders if count <= usable_cores()]
    decoded = decoding.rates(sorted(images.rglob("*.jpg")), counts, size=224, tasks=tasks)
    parts = [
        "# Labelling on a GPU\n",
        f"Measured on {name}, with {usable_cores()} cores and torch {torch.__version__}, by `make gpu`.\n",
        section(
            "A network alone, and `annotate run`",
            ["", "compiled or not, batch", "arithmetic's limit", "alone", "annotate run", "of alone"],
            [one.row() for one in found],
            "Pictures a second, random weights, bfloat16 on a GPU. The limit is what a product of two matrices of "
            f"{side:,} reaches here, {matrix / 1e12:.1f} TFLOP/s, over a picture's operations. `annotate run`, in one "
            f"process without Ray, reads JPEG files, {networks.cores()} threads decode; start-up, compiling and the "
            "first shard are left out.",
        ),
        section(
            "A network alone, by size of batch",
            ["", *map(str, batches), "compiled"],
            [
                [
                    f"{one.name} at {one.size}",
                    *(_figure(one.bare[False, batch]) for batch in batches),
                    _figure(next((rate for (is_compiled, _), rate in one.bare.items() if is_compiled), None)),
                ]
                for one in found
            ],
            "Pictures a second; empty where a batch does not fit, or time was up. Compiled at the best of these sizes.",
        ),
        section(
            "Decoding and resizing to 224 pixels",
            ["", "threads", "processes"],
            [[str(count), *(f"{rate:,.0f}" for rate in rates)] for count, rates in decoded.items()],
            "Pictures a second of so many threads of one process, and of so many processes.",
        ),
        step.measure(student, student_batch, rounds=3).describe(student, student_batch),
    ]
    return "\n".join([*parts, f"All of it took {time.monotonic() - began:.0f} s.\n"])


def write_pictures(folder: Path, count: int) -> Path:
    """Write 64 JPEG files of 500x375 with the statistics of smooth noise, and links to them, `count` names in all."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for n in range(count):
        path, first = folder / f"{n:06}.jpg", folder / f"{n % 64:06}.jpg"
        if n >= 64:
            os.link(first, path)
            continue
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        noise = rng.normal(0, 8, (375, 500, 3))
        Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(path, quality=85)
    return folder


def _figure(rate: float | None) -> str:
    return f"{rate:,.0f}" if rate else ""


@click.command()
def main() -> None:
    """Measure, and write docs/gpu.md."""
    if not torch.cuda.is_available():
        raise click.ClickException("torch finds no GPU here; docs/gpu.md is left as it is")
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="tokenlabel-gpu-", dir=memory) as folder:
        PAGE.write_text(page(Path(folder)))
    click.echo(PAGE.read_text())


if __name__ == "__main__":
    main()
