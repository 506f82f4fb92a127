"""Does a job lose nothing when a machine is lost with its workers?"""

from __future__ import annotations

from pathlib import Path

import pytest

from annotate.cluster.ray_workers import RayWorkers
from tests.conftest import contents
from tests.faults.jobs import Gated, PaintedJob, painted_store
from tests.faults.sound import undisturbed, whole
from tests.servers.ray_cluster import ray_cluster


@pytest.mark.filterwarnings("ignore")  # of Ray's own cluster of several nodes on one machine
def test_a_machine_is_lost_without_grace_and_another_comes(tmp_path: Path) -> None:
    """Shards that it was doing have no attempt counted; and the machine that comes gets work: the last shards wait."""
    import ray

    address, shards, started = str(tmp_path / "labels.zarr"), 30, tmp_path / "started"
    started.mkdir()
    tasks = painted_store(address, shards)
    with ray_cluster(head_cpus=0) as cluster:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        job = Gated(PaintedJob(address, seconds=0.5), started, {4: 2, 16: 3})
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        at_work = set()
        for outcome in RayWorkers(address=cluster.address).map(job, tasks):
            assert outcome.record
            at_work.add(outcome.record.run["node"])
            if len(at_work) == 2 and nodes:
                cluster.remove_node(nodes.pop(), allow_graceful=False)
                nodes.clear()
                cluster.add_node(num_cpus=1)
    records = [whole(address).record(n).run for n in range(shards)]
    assert {record["attempt"] for record in records} == {1}
    assert len({record["node"] for record in records}) == 3
    assert contents(Path(address)) == undisturbed(tmp_path, shards)
