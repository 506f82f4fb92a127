"""How many pictures do threads decode and resize in a second, and how many do processes?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from annotate.images.decode import decode
from annotate.model.preprocess import preprocess

_TASK = 16  # pictures; processes give back their number alone


def rates(paths: Sequence[Path], counts: Sequence[int], *, size: int, tasks: int) -> dict[int, tuple[float, float]]:
    """Pictures a second of so many threads, and of so many processes of one thread each."""
    found = {}
    for count in counts:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            by_threads = _rate(threads, paths, size, tasks)
        context = get_context("spawn")
        with ProcessPoolExecutor(count, context, torch.set_num_threads, (1,)) as processes:
            found[count] = by_threads, _rate(processes, paths, size, tasks)
    return found


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
