"""How many processor cores may this process use? Often fewer than the machine has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def usable_cores(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """The number of cores that taskset, a cpuset, Slurm or the CPU limit of a control group allows this process.

    At least 1. A limit of 2.5 cores counts as 2.

    Args:
        cgroups: where the control groups of Linux are mounted.
        own: the file that names this process's groups.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    allowed = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min([allowed, *_limits(cgroups, own)])))


def _limits(cgroups: Path, own: Path) -> list[float]:
    """The limits, in cores, of this process's control groups and of all above them."""
    lines: list[str] = []
    with suppress(OSError):
        lines = own.read_text().splitlines()
    limits = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / controllers if controllers else cgroups
        folder = root / group.strip("/")
        for each in (folder, *folder.parents):  # in a container, its own group is the root
            limits += _limit_of(each)
            if each == root:
                break
    return limits


def _limit_of(group: Path) -> list[float]:
    """The limit of one control group, of version 2 or 1; empty if there is none."""
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()
        return [] if quota == "max" else [int(quota) / int(period)]
    with suppress(OSError, ValueError):
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return [int(quota) / int(period)] if int(quota) > 0 else []
    return []
