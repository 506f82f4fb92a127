"""Does a job lose nothing when requests to its object store sometimes fail?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from annotate.cluster.connection import LOCAL, connected
from annotate.cluster.ray_workers import RayWorkers
from storage import open_store
from tests import s3
from tests.faults.jobs import PaintedJob, Refused, painted_store
from tests.faults.sound import undisturbed, whole


@pytest.fixture(scope="module")
def bucket() -> Iterator[None]:
    """A server, and a Ray whose workers know it."""
    with s3.server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment(server).items():
            patch.setenv(name, value)
        with connected(LOCAL):
            yield


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(("how", "every"), [("refused", 31), ("lost", 31), ("slow", 31), ("unread", 31)])
def test_an_object_store_fails_now_and_then(how: str, every: int, tmp_path: Path) -> None:
    """Every 31st write is refused, is done but its answer lost, or takes seconds; or every 31st read is refused.

    12 shards are 72 writes, and as many reads, because each shard is read again after it is written: one of two workers
    fails at least once, and no shard three times, however the shards are shared out: for that it takes 31 + 31 + 62.
    """
    address, shards = f"s3://{s3.BUCKET}/{how}.zarr", 12
    tasks = painted_store(address, shards)
    outcomes = list(RayWorkers(2).map(Refused(PaintedJob(address), how, every), tasks))
    assert all(outcome.record for outcome in outcomes)
    assert any(outcome.shard.attempt > 1 for outcome in outcomes) == (how != "slow")
    undisturbed(tmp_path, shards)
    store, same = whole(address), open_store(tmp_path / "undisturbed.zarr")
    for name in same.backend.object_names():
        if not name.startswith("shards/record/c/"):
            assert store.backend.read_object(name) == same.backend.read_object(name), name
