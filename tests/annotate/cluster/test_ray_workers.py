"""Who can see what Ray does, and does the user see why a worker cannot start?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from annotate.cluster.ray_workers import RayWorkers
from annotate.errors import AnnotateError
from annotate.jobs.labelling.shard import Shard
from storage import Record
from tests.faults.jobs import PaintedJob, painted_store

LISTENING = """
import glob, json, os
from annotate.cluster.ray_workers import RayWorkers
from annotate.jobs.labelling.shard import Shard
from storage import Record

class Instant:
    def start(self):
        return lambda shard: Record(start=0, stop=1, labelled=1)

def sockets():
    # address of every TCP socket that listens, by its inode
    lines = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}").readlines()[1:]]
    return {fields[9]: fields[1].rpartition(":")[0] for fields in lines if fields[3] == "0A"}

before = set(sockets())
for _ in RayWorkers(1).map(Instant(), [Shard(range(1), ())]):
    mine = []
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            target, name = os.readlink(link), open("/proc/" + link.split("/")[2] + "/environ").read()
        except OSError:
            continue
        if target.startswith("socket:[") and "MARK_OF_THE_TEST" in name:
            mine.append(target[8:-1])
    found = {sockets()[inode] for inode in mine if inode in sockets() and inode not in before}
    known = [os.environ.get(f"RAY_{name}") for name in ("USAGE_STATS_ENABLED", "AUTH_MODE")]
    print(json.dumps([sorted(found), *known]))
"""


def test_rays_own_processes_listen_on_the_loopback_alone() -> None:
    """Every socket of every process of the job, with 127.0.0.1 as the kernel writes it; a token; and no statistics.

    A token that the user has chosen is required too.
    """
    if not Path("/proc/net/tcp").exists():
        pytest.skip("sockets are read from /proc, which is Linux's")
    environment = {**os.environ, "MARK_OF_THE_TEST": "1", "RAY_AUTH_TOKEN": "f" * 64}
    result = subprocess.run(
        [sys.executable, "-c", LISTENING], capture_output=True, text=True, env=environment, timeout=120, check=True
    )
    found, statistics, mode = json.loads(result.stdout.strip().splitlines()[-1])
    assert found
    assert set(found) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert (statistics, mode) == ("0", "token")


@dataclass(frozen=True)
class Unable:
    """A job that cannot start: it raises, or its process dies."""

    dies: bool

    def start(self):
        if self.dies:
            os._exit(1)
        raise AnnotateError("there is no such network")


@pytest.mark.usefixtures("one_ray")
def test_what_keeps_a_job_from_starting_is_said_once() -> None:
    with pytest.raises(AnnotateError, match="there is no such network"):
        list(RayWorkers(2).map(Unable(dies=False), [Shard(range(1), ())]))
    with pytest.raises(AnnotateError, match="3 in a row died before they were ready.*too little memory"):
        list(RayWorkers(1).map(Unable(dies=True), [Shard(range(1), ())]))


@pytest.mark.usefixtures("one_ray")
def test_a_record_says_who_wrote_it_and_no_path(tmp_path: Path) -> None:
    address = str(tmp_path / "labels.zarr")
    (outcome,) = RayWorkers(1).map(PaintedJob(address), painted_store(address, 1))
    assert isinstance(outcome.record, Record)
    assert {"run", "attempt", "seconds", "finished", "worker"} <= set(outcome.record.run)
    assert str(Path.home()) not in outcome.record.to_text()
    assert str(tmp_path) not in outcome.record.to_text()


@pytest.mark.usefixtures("one_ray")
def test_workers_that_can_never_start_here_are_refused_at_once() -> None:
    with pytest.raises(
        AnnotateError, match="cannot start a worker on this machine: each asks for 1 CPUs and 99 GPUs, and the"
    ):
        list(RayWorkers(gpus_per_worker=99).map(Unable(dies=False), [Shard(range(1), ())]))
