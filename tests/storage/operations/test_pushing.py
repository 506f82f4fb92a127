"""Is a store published on the Hub in parts that nobody takes for a whole, and no unsound one?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from storage import (
    LabelStore,
    Progress,
    Publication,
    StoreError,
    create_store,
    finalize,
    open_store,
    pull,
    push,
    verify,
)
from storage.operations import pushing
from tests.labels import random_labels
from tests.servers import hub
from tests.servers.hub import Hub
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tests.storage.operations.conftest import damage

ADDRESS = "hf://datasets/ann/labels"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("TOKENLABEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pushing, "_AT_ONCE", 8)
    with hub.serving(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def ready(full: LabelStore) -> LabelStore:
    finalize(full, Publication(name="Labels", source="pictures", licence="CC0-1.0"))
    return full


def test_a_store_is_published_with_its_manifest_last_and_read_and_pulled_from_there(
    server: Hub, ready: LabelStore, tmp_path: Path
) -> None:
    told: list[Progress] = []
    pushed = push(ready, ADDRESS, on_progress=told.append)
    assert pushed.objects == pushed.pushed_now == told[-1].done == told[-1].total
    assert server.commits[-1] == ("The manifest: the labels are complete", ["MANIFEST.sha256"])
    assert all("MANIFEST.sha256" not in added for _, added in server.commits[:-1])
    target = tmp_path / f"pulled{Path(ready.address).suffix}"
    pull(ADDRESS, target)
    assert verify(open_store(target), deep=True).state == "ok"
    if target.suffix == ".zarr":
        assert (open_store(ADDRESS).read([7]).classes == ready.read([7]).classes).all()
    commits = len(server.commits)
    assert push(ready, ADDRESS).pushed_now == 0
    assert len(server.commits) == commits


def test_a_push_that_failed_is_continued_without_what_is_there(server: Hub, tmp_path: Path) -> None:
    ready = create_store(tmp_path / "labels.zarr", SCHEMA, KEYS)
    labels = random_labels(np.random.default_rng(0), 10)
    for rows in SHARDS:
        ready.write(rows, labels[rows.start : rows.stop])
    finalize(ready, Publication(name="Labels", source="pictures", licence="CC0-1.0"))
    server.fails = [2]
    with pytest.raises(StoreError, match=r"cannot push .* to hf://datasets/ann/labels: .*the same command continues"):
        push(ready, ADDRESS)
    assert not (server.files("ann/labels") / "MANIFEST.sha256").exists()
    there = [name for _, added in server.commits for name in added]
    assert len(there) == 16
    pushed = push(ready, ADDRESS)
    assert pushed.pushed_now == pushed.objects - 16
    added = [name for _, names in server.commits for name in names]
    assert len(added) == len({*added}) == pushed.objects


def test_a_store_that_is_published_again_has_no_manifest_meanwhile(server: Hub, tmp_path: Path) -> None:
    for seed in (0, 1):
        ready = create_store(tmp_path / f"{seed}/labels.zarr", SCHEMA, KEYS)
        labels = random_labels(np.random.default_rng(seed), 10)
        for rows in SHARDS:
            ready.write(rows, labels[rows.start : rows.stop])
        finalize(ready, Publication(name="Labels", source="pictures", licence="CC0-1.0"))
        first = len(server.commits)
        push(ready, f"{ADDRESS}@main/light")
        assert server.deleted[first] == (["light/MANIFEST.sha256"] if seed else [])
    assert (open_store(f"{ADDRESS}/light").read([7]).classes == ready.read([7]).classes).all()


def test_what_is_unfinished_unfinalized_or_damaged_is_refused_before_any_request(
    server: Hub, full: LabelStore, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="it is not finalized; `annotate finalize` does it"):
        push(full, ADDRESS)
    pending = create_store(tmp_path / "pending.zarr", SCHEMA, KEYS)
    with pytest.raises(StoreError, match="3 of 3 shards are pending"):
        push(pending, ADDRESS)
    finalize(full, Publication(name="Labels", source="pictures", licence="CC0-1.0"))
    damage(open_store(full.address, writable=True), 1)
    with pytest.raises(StoreError, match="it is damaged; `annotate verify`"):
        push(open_store(full.address), ADDRESS)
    with pytest.raises(StoreError, match="give hf://datasets/OWNER/NAME"):
        push(full, "https://huggingface.co/ann/labels")
    assert not (server.root / "datasets").exists()


def test_who_may_not_write_is_told_what_to_do(server: Hub, ready: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "of-somebody-else")
    with pytest.raises(StoreError, match="HF_TOKEN or `hf auth login` says who you are"):
        push(ready, ADDRESS)
