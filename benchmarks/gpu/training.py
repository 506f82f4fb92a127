"""How long does a training step take, with sparse targets and with dense ones? A part of `make gpu`."""

from __future__ import annotations

from benchmarks.gpu.apart import Say
from benchmarks.tokenlabel import step


def measure(say: Say, *, student: str, batch: int) -> None:
    """Measure three steps of each kind; says "table"."""
    say("table", step.measure(student, batch, rounds=3).describe(student, batch))
