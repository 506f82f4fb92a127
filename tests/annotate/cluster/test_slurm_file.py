"""Does the job file of docs/cluster.md label every shard once? Run by bash, as each task of the array is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs/cluster.md").read_text()


@pytest.mark.parametrize(("shards", "tasks"), [(1252, 16), (5, 16), (16, 16), (17, 4), (1, 1)])
def test_the_tasks_of_an_array_job_share_all_shards(shards: int, tasks: int, tmp_path: Path) -> None:
    (script,) = re.findall(r"```\n(#!/bin/bash\n#SBATCH.*?)```", PAGE, flags=re.DOTALL)
    assert "\nshards=1252\n" in script
    (tmp_path / "labels.sh").write_text(script.replace("\nshards=1252\n", f"\nshards={shards}\n"))
    (tmp_path / "srun").write_text('#!/bin/sh\nfor last; do :; done\necho "$last"\n')
    (tmp_path / "srun").chmod(0o755)
    found: list[int] = []
    for task in range(tasks):
        environment = {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_COUNT": str(tasks),
        }
        done = subprocess.run(
            ["bash", "labels.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        for line in done.stdout.splitlines():
            first, last = map(int, line.split("-"))
            found += range(first, last + 1)
    assert found == [*range(shards)]
