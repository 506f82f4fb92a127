"""What does a verification say of a store, and what does a repair leave? Every kind of damage is the contract's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage import DamageError, LabelStore, Progress, open_store, repair, verify
from storage.backend import LOOKS
from storage.hdf5_backend import shards
from storage.zarr_backend import backend
from tests.labels import random_labels
from tests.storage.contract.samples import SHARDS
from tests.storage.operations.conftest import damage


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are looked at again, as they are outside of tests."""
    for module in ("zarr_backend.commit", "operations.integrity"):
        monkeypatch.setattr(f"storage.{module}.LOOKS", LOOKS)


def test_damage_is_told_by_shard_in_words_and_in_json(full: LabelStore) -> None:
    damage(full, 1)
    told: list[Progress] = []
    found = verify(open_store(full.address), on_progress=told.append)
    assert found.state == "damaged"
    assert [shard["state"] for shard in found.to_json()["shards"]] == ["ok", "damaged", "ok"]
    assert "rows 4 to 8 are damaged:" in found.describe()
    assert [each.done for each in told] == [0, 4, 8, 10]


def test_a_repair_leaves_what_nothing_else_says_and_names_it(full: LabelStore) -> None:
    """Keys follow from nothing; a shard can be labelled again."""
    damage(full, 1)
    lost = next(name for name in full.backend.object_names() if name.startswith(("keys/", "store.")))
    full.backend.write_object(lost, b"x")
    found = verify(full)
    if lost == "store.h5":  # the header, too: without it, nothing says what the labels are
        with pytest.raises(DamageError, match="the header of the store .* is damaged"):
            repair(full, found)
        return
    left = repair(full, found)
    assert len(left) >= 1
    assert full.pending() == [range(4, 8)]


def _before_objects_are_read(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Do something between the record of a shard and each of its objects, in both kinds of stores."""
    for module, name in ((backend, "shard_digests"), (shards, "sha256_stored")):
        monkeypatch.setattr(module, name, partial(_afterwards, do, getattr(module, name)))


def _afterwards(do: Callable[[], object], read: Callable[..., Any], *parts: Any) -> Any:
    do()
    return read(*parts)


def _replacing(store: LabelStore, times: int) -> Iterator[None]:
    """A writer that replaces the second shard so many times, once at each step."""
    writer, rng = open_store(store.address, writable=True), np.random.default_rng(1)
    for attempt in range(times):
        # Without the hook: a writer reads back what it has written.
        with pytest.MonkeyPatch.context() as undone:
            undone.setattr(type(writer.backend), "checksums", lambda self, shard: self.record(shard).objects)
            writer.write(SHARDS[1], random_labels(rng, 4), run={"attempt": attempt})
        yield
    while True:
        yield


@pytest.mark.usefixtures("looks")
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("times", [1, 3])
def test_a_shard_that_a_writer_replaces_is_not_damaged(
    full: LabelStore, monkeypatch: pytest.MonkeyPatch, times: int, deep: bool
) -> None:
    store = open_store(full.address)
    store.read([5])  # it is open in its older form
    steps = _replacing(full, times)
    _before_objects_are_read(monkeypatch, lambda: next(steps))
    found = verify(store, deep=deep)
    assert (found.state, found.describe().count("damaged")) == ("ok", 1)


@pytest.mark.usefixtures("looks")
def test_a_shard_that_a_writer_replaces_all_the_time_is_never_damaged(
    full: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = _replacing(full, 1000)
    _before_objects_are_read(monkeypatch, lambda: next(steps))
    found = verify(open_store(full.address)).shards[1].state
    assert found == ("ok" if full.address.endswith("h5") else "pending")


@pytest.mark.usefixtures("looks")
def test_a_repair_sets_nothing_aside_that_a_writer_replaces(full: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(full, 1)
    store = open_store(full.address, writable=True)
    found = verify(store)
    full.write(SHARDS[1], random_labels(np.random.default_rng(2), 4))
    steps = _replacing(full, 2)
    _before_objects_are_read(monkeypatch, lambda: next(steps))
    assert repair(store, found) == []
    assert not any("set_aside" in name for name in map(str, _files(full)))
    assert verify(open_store(full.address)).state == "ok"


def _files(store: LabelStore) -> list[Path]:
    return [*Path(store.address).rglob("*")]
