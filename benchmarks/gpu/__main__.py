"""What does the GPU in hand reach? `make gpu`, or `python -m benchmarks.gpu`, writes docs/gpu.md."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from annotate.cores import usable_cores
from benchmarks.gpu import decoding, networks, training
from benchmarks.gpu.apart import apart
from demo.markdown import section

# Seconds of each, for all of it: less than 8 minutes together with those below.
NETWORKS = (
    ("resnet50", 224, 40),
    ("resnet50", 288, 40),
    ("convnext_base", 288, 45),
    ("dm_nfnet_f0", 256, 45),
    ("dm_nfnet_f6", 576, 75),
    ("eva02_base_patch14_448", 448, 55),
    ("eva02_large_patch14_448", 448, 75),
)
OF_MATRIX, OF_STEP, OF_DECODING = 20, 40, 15
BATCHES = (32, 64, 128, 256, 512)
PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
_SPACE = 8e9  # bytes: of the largest weights, twice, and labels


def page(
    folder: Path,
    *,
    chosen: Sequence[tuple[str, int, float]] = NETWORKS,
    batches: Sequence[int] = BATCHES,
    pictures: int = 8192,
    side: int = 8192,
    student: str = "lvvit_s",
    student_batch: int = 256,
    decoders: Sequence[int] = (16, 1, 8, 2, 4),
    tasks: int = 16,
) -> str:
    """Measure all, and describe it in Markdown. Pictures, weights and stores lie below the folder meanwhile.

    Each network has a process of its own: what goes wrong in one, or takes too long, is a line of the page.
    """
    began = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    images = decoding.write_pictures(folder / "images", pictures)
    matrix = apart(networks.matrix_rate, seconds=OF_MATRIX, device=device, side=side)
    rate = matrix.values.get("rate")
    found = []
    for network, size, seconds in chosen:
        click.echo(f"{network} at {size}, {time.monotonic() - began:.0f} s after the beginning", err=True)
        measured = apart(
            networks.measure,
            seconds=seconds,
            name=network,
            size=size,
            folder=folder,
            images=images,
            device=device,
            batches=batches,
            pictures=pictures,
        )
        found.append(networks.Speed.of(network, size, measured, rate))
    counts = [count for count in decoders if count <= usable_cores()]
    decoded = decoding.rates(sorted(images.glob("*.jpg")), counts, size=224, tasks=tasks, seconds=OF_DECODING)
    step = apart(training.measure, seconds=OF_STEP, student=student, batch=student_batch)
    not_measured = [
        *([f"the product of matrices: {matrix.why}"] if matrix.why else []),
        *(f"{one.name} at {one.size}: {one.why}" for one in found if one.why),
        *([f"a step of {student} with {student_batch} pictures: {step.why}"] if step.why else []),
    ]
    parts = [
        "# Labelling on a GPU\n",
        f"Measured on {name}, with {usable_cores()} cores and torch {torch.__version__}, by `make gpu`.\n",
        section(
            "A network alone, and `annotate run`",
            ["", "batch", "arithmetic's limit", "alone", "annotate run", "of alone"],
            [row for one in found for row in one.rows],
            "Pictures a second, random weights, bfloat16 on a GPU. The limit is what a product of two matrices of "
            f"{side:,} reaches here, {networks.figure(rate and rate / 1e12) or 'not measured,'} TFLOP/s, over a "
            f"picture's operations. `annotate run`, in one process without Ray, reads JPEG files, {networks.cores()} "
            "threads decode; start-up, compiling and the first shard are left out.",
        ),
        section(
            "A network alone, by size of batch",
            ["", *map(str, batches), "compiled"],
            [
                [
                    f"{one.name} at {one.size}",
                    *(networks.figure(one.bare.get((False, batch))) for batch in batches),
                    networks.figure(next((rate for (is_compiled, _), rate in one.bare.items() if is_compiled), None)),
                ]
                for one in found
            ],
            "Pictures a second; empty where a batch does not fit, or time was up. Compiled at the best of these sizes.",
        ),
        decoding.table(decoded),
        step.values.get("table", ""),
        *(["What was not measured:\n", *(f"- {line}" for line in not_measured), ""] if not_measured else []),
    ]
    return "\n".join([*parts, f"All of it took {time.monotonic() - began:.0f} s.\n"])


def parent_folder() -> str | None:
    """Where weights and stores lie meanwhile: in memory, unless it is too small, as in containers; else the default."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > _SPACE else None


@click.command()
def main() -> None:
    """Measure, and write docs/gpu.md."""
    if not torch.cuda.is_available():
        raise click.ClickException("torch finds no GPU here; docs/gpu.md is left as it is")
    with tempfile.TemporaryDirectory(prefix="tokenlabel-gpu-", dir=parent_folder()) as folder:
        PAGE.write_text(page(Path(folder)))
    click.echo(PAGE.read_text())


if __name__ == "__main__":
    main()
