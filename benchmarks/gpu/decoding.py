"""How many pictures do threads decode and resize in a second, and how many do processes?

`python -m benchmarks.gpu.decoding`
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from annotate.cores import usable_cores
from annotate.images.decode import decode
from annotate.model.preprocess import preprocess
from demo.markdown import section

_TASK = 16  # pictures; processes give back their number alone


def rates(
    paths: Sequence[Path], counts: Sequence[int], *, size: int, tasks: int, seconds: float = math.inf
) -> dict[int, tuple[float, float]]:
    """Pictures a second of so many threads, and of so many processes of one thread each.

    Args:
        paths: JPEG files.
        counts: of threads and of processes, in the order in which they are measured.
        size: height and width to resize to.
        tasks: of sixteen pictures, for each thread.
        seconds: after which no other count is begun.
    """
    found, until = {}, time.monotonic() + seconds
    for count in counts:
        if time.monotonic() > until:
            break
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            by_threads = _rate(threads, paths, size, count * tasks)
        context = get_context("spawn")
        with ProcessPoolExecutor(count, context, torch.set_num_threads, (1,)) as processes:
            found[count] = by_threads, _rate(processes, paths, size, count * tasks)
    return dict(sorted(found.items()))


def table(found: Mapping[int, tuple[float, float]]) -> str:
    """The rates as a section of a page."""
    return section(
        "Decoding and resizing to 224 pixels",
        ["how many", "threads", "processes"],
        [[str(count), *(f"{rate:,.0f}" for rate in each)] for count, each in found.items()],
        "Pictures a second of so many threads of one process, and of so many processes: JPEG files of 500x375.",
    )


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


def _rate(pool: ThreadPoolExecutor | ProcessPoolExecutor, paths: Sequence[Path], size: int, tasks: int) -> float:
    do = partial(_decode, size=size)
    parts = [[str(paths[(n * _TASK + k) % len(paths)]) for k in range(_TASK)] for n in range(tasks)]
    list(pool.map(do, parts))  # all have started
    started = time.perf_counter()
    done = sum(pool.map(do, parts))
    return done / (time.perf_counter() - started)


def _decode(paths: Sequence[str], size: int) -> int:
    for path in paths:
        preprocess(decode(Path(path).read_bytes()), (size, size), "squash", interpolation="bicubic")
    return len(paths)


def main() -> None:
    """Measure with as many as there are cores and fewer, and print the table."""
    with tempfile.TemporaryDirectory(prefix="tokenlabel-benchmark-") as folder:
        paths = sorted(write_pictures(Path(folder, "images"), 64).glob("*.jpg"))
        counts = sorted({1, *(count for count in (2, 4, 8, 16) if count <= usable_cores()), usable_cores()})
        print(table(rates(paths, counts, size=224, tasks=32)))


if __name__ == "__main__":
    main()
