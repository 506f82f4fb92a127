"""How much do several processes do in a second, each on one thread, when all work at once?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import torch

WORKERS = len(os.sched_getaffinity(0))

Do = Callable[[], int]  # does a batch, and says how many pictures it had


@contextmanager
def team(make: Callable[[], Do]) -> Iterator[Callable[[float], float]]:
    """Processes that do the same at once; call what it gives with seconds for the pictures a second of all together."""
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in range(WORKERS)]
    processes = [context.Process(target=_member, args=(make, there), daemon=True) for _, there in pipes]
    for process in processes:
        process.start()
    for here, _ in pipes:
        here.recv()

    def run(seconds: float) -> float:
        for here, _ in pipes:
            here.send(seconds)
        return float(sum(here.recv() for here, _ in pipes))

    try:
        yield run
    finally:
        for process in processes:
            process.kill()


def _member(make: Callable[[], Do], pipe: Any) -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        do = make()
        do()
        pipe.send("ready")
        while True:
            seconds, started, done = pipe.recv(), time.perf_counter(), 0
            while (taken := time.perf_counter() - started) < seconds:
                done += do()
            pipe.send(done / taken)
