"""Which job do the tests watch? One in work: 96 shards, four workers, a pause, and pictures that have no label."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from storage import LabelMap, LabelStore, Schema, Status, create_store
from tests.labels import random_labels

SCHEMA = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=10)
HOSTILE = "<script>document.title=1</script>"


def store_of_a_job(address: str | Path, *, done: int = 61, shards: int = 96) -> LabelStore:
    """The store as it is while shards are in work; shard 7 has a picture whose key and reason are HTML."""
    keys = [f"photos/{n:04}.jpg" for n in range(10 * shards)]
    if shards > 7:
        keys[72] = f"photos/{HOSTILE}.jpg"
    store = create_store(str(address), SCHEMA, keys)
    rng = np.random.default_rng(0)
    labels = random_labels(rng, 10)
    missing = LabelMap.unlabelled(Status.UNDECODABLE, grid=(6, 5), k=3, class_count=40)
    now = datetime.now(UTC)
    clocks = [now - timedelta(hours=3)] * 4
    for shard in range(done):
        if shard == done // 3:  # after a pause, until now
            clocks = [now - timedelta(seconds=12 * (done - shard))] * 4
        worker = int(np.argmin([clock.timestamp() for clock in clocks]))
        seconds = float(rng.uniform(30, 45)) * (1.7 if worker == 3 else 1)
        clocks[worker] += timedelta(seconds=seconds)
        run = {
            "finished": clocks[worker].isoformat(timespec="seconds"),
            "worker": f"node{worker // 2 + 1}:{4100 + worker}",
            "seconds": round(seconds, 2),
            "attempt": 2 if shard == 20 else 1,
        }
        if shard in (7, 33, 34):
            parts = [labels[n] for n in range(10)]
            parts[2] = missing
            reason = f"not a picture: it begins with {HOSTILE}" if shard == 7 else "the file ends too early"
            store.write(store.rows_of(shard), LabelMap.stack(parts), reasons={10 * shard + 2: reason}, run=run)
        else:
            store.write(store.rows_of(shard), labels, run=run)
    return store
