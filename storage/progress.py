"""How far is work that takes long? What it reports after each shard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: pictures accounted for, of how many, and how many of them have no label."""

    done: int
    total: int
    failed: int
