"""Do workers wait for a machine that has room for them, and is it said?"""

from __future__ import annotations

from pathlib import Path

import pytest

from annotate.cluster.ray_workers import RayWorkers
from tests.faults.jobs import PaintedJob, painted_store
from tests.servers.ray_cluster import ray_cluster


@pytest.mark.filterwarnings("ignore")  # of Ray's own cluster of several nodes on one machine
def test_workers_that_no_machine_has_room_for_are_waited_for_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two CPUs on two machines are not two on one; when such a machine comes, the work is done."""
    import ray

    monkeypatch.setattr("annotate.cluster.ray_workers._PATIENCE", 1.0)
    address, said = str(tmp_path / "labels.zarr"), []
    with ray_cluster(head_cpus=1) as cluster:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")

        def say(sentence: str) -> None:
            said.append(sentence)
            if len(said) == 1:
                cluster.add_node(num_cpus=2)

        workers = RayWorkers(cpus_per_worker=2, address=cluster.address)
        outcomes = list(workers.map(PaintedJob(address), painted_store(address, 2), say=say))
    assert all(outcome.record for outcome in outcomes)
    assert said[0].startswith("no worker is ready yet: each asks for 2 CPUs and 0 GPUs, and the machines have 1 CPUs")
