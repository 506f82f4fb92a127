"""Where does a test have several machines? In a cluster of Ray's own for tests, whose nodes are all on this one."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def ray_cluster(*, head_cpus: int) -> Iterator[Any]:
    """A cluster with one node; the connection to it, if the test makes one, ends before it."""
    import ray
    from ray._private.node import Node
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head_cpus, "include_dashboard": False})
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        # Exit handlers hold each node, and with it a client, which Python 3.13 frees in a forked process: it then waits
        # for ever for a thread that the fork does not have.
        for each in gc.get_objects():
            if isinstance(each, Node):
                each._gcs_client = None
