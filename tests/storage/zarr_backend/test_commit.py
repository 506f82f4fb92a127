"""Do two writers of one shard leave the labels of one of them?"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from storage import DamageError, LabelStore, NotLabelledError, Schema, StoreError, create_store, open_store, verify
from storage.files.atomic_file import Prepared
from storage.zarr_backend import commit
from storage.zarr_backend.backend import ZarrBackend
from storage.zarr_backend.objects import Objects
from tests.labels import random_labels
from tests.storage.mounts.memory_disk import memory_disk

# The labels of two devices; they differ in more than a last bit, so that each part tells whose it is.
A = random_labels(np.random.default_rng(0), 4)
B = random_labels(np.random.default_rng(1), 4)


def new_store(path: Path) -> LabelStore:
    return create_store(path, Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=4), [f"{n}" for n in range(4)])


def before_write_of(monkeypatch: pytest.MonkeyPatch, name: str, do: Callable[[], object]) -> None:
    """Do something once, before the next object whose name begins with this is written."""
    write, waiting = Objects.set, [do]

    def hooked(self: Objects, written: str, data: Prepared) -> None:
        if written.startswith(name) and waiting:
            waiting.pop()()
        write(self, written, data)

    monkeypatch.setattr(Objects, "set", hooked)


def served(store: LabelStore) -> str:
    """Whose labels a reader gets, "A" or "B": those that a store of one writer has."""
    found = open_store(store.address).read(range(4))
    for name, labels in (("A", A), ("B", B)):
        with tempfile.TemporaryDirectory() as folder:  # not beside the store, whose disk may be full
            alone = new_store(Path(folder) / "alone.zarr")
            alone.write(range(4), labels)
            known = alone.read(range(4))
        if (found.classes == known.classes).all() and (found.scores == known.scores).all():
            return name
    return "a mixture"


@pytest.mark.parametrize("name", ["classes", "scores", "boxes", "sizes", "status", "shards"])
def test_a_shard_that_two_write_at_once_is_one_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The second writes all of it before one of the first's objects, and the first goes on."""
    store = new_store(tmp_path / "s.zarr")
    other = open_store(store.address, writable=True)
    before_write_of(monkeypatch, name, lambda: other.write(range(4), B, run={"worker": "B"}))
    record = store.write(range(4), A, run={"worker": "A"})
    assert verify(open_store(store.address)).state == "ok"
    assert served(store) == record.run["worker"]
    assert store.record(0) == record


def test_a_shard_is_one_writers_however_the_steps_of_three_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, rng, write = new_store(tmp_path / "s.zarr"), random.Random(0), Objects.set

    def after_a_while(self: Objects, name: str, data: Prepared) -> None:
        time.sleep(rng.random() / 500)
        write(self, name, data)

    monkeypatch.setattr(Objects, "set", after_a_while)
    with ThreadPoolExecutor(3) as pool:
        for _ in range(20):
            list(pool.map(lambda labels: store.write(range(4), labels), (A, B, A)))
            assert verify(open_store(store.address)).state == "ok"
            assert served(store) in ("A", "B")


def test_a_mixed_shard_that_a_dead_writer_left_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two had written their objects in turn; one wrote its record and died before it looked."""
    store = new_store(tmp_path / "s.zarr")
    store.write(range(4), A)
    mixed = (tmp_path / "s.zarr/scores/c/0/0/0/0").read_bytes()
    store.write(range(4), B)
    (tmp_path / "s.zarr/scores/c/0/0/0/0").write_bytes(mixed)
    assert verify(open_store(store.address)).state == "damaged"


def test_while_a_shard_is_replaced_it_is_pending_and_never_a_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store(tmp_path / "s.zarr")
    store.write(range(4), A)

    def look() -> None:
        with pytest.raises(NotLabelledError):
            open_store(store.address).read(range(4))

    before_write_of(monkeypatch, "scores", look)
    store.write(range(4), B)
    assert served(store) == "B"


def test_a_reader_that_comes_between_two_writers_looks_at_the_record_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds the record of one over objects of both, and then the shard as the other left it."""
    store, finish = _mixed(tmp_path / "s.zarr"), []

    def pause(seconds: float) -> None:
        if finish:
            finish.pop()()

    monkeypatch.setattr(commit, "LOOKS", (0.05,))
    monkeypatch.setattr(commit.time, "sleep", pause)
    for write, read in (
        (A, lambda reader: reader.read(range(4))),
        (B, lambda reader: reader[2]),
        (A, lambda reader: reader.column("sizes")),
    ):
        _mixed(tmp_path / "s.zarr")
        finish.append(lambda labels=write: store.write(range(4), labels))
        read(open_store(store.address))
        assert not finish
    assert served(store) == "A"


def test_a_reader_that_comes_between_two_writers_finds_the_shard_pending_once_its_record_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _mixed(tmp_path / "s.zarr")
    record = tmp_path / "s.zarr/shards/record/c/0"
    whole = record.read_bytes()
    monkeypatch.setattr(commit, "LOOKS", (0.05,))
    monkeypatch.setattr(commit.time, "sleep", lambda seconds: record.unlink())
    for read in (
        lambda reader: reader.read(range(4)),
        lambda reader: reader[2],
        lambda reader: reader.column("sizes"),
    ):
        with pytest.raises(NotLabelledError, match="rows 0 to 4 of .* have no labels yet"):
            read(open_store(store.address))
        record.write_bytes(whole)


def test_a_mixture_that_nobody_replaces_is_damage_after_some_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, pauses = _mixed(tmp_path / "s.zarr"), []
    monkeypatch.setattr(commit, "LOOKS", (0.05, 0.2))
    monkeypatch.setattr(commit.time, "sleep", pauses.append)
    with pytest.raises(DamageError, match="is not the object that its commit record names"):
        open_store(store.address).read([0])
    assert pauses == [0.05, 0.2]


def test_a_shard_whose_record_goes_while_it_is_verified_is_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store(tmp_path / "s.zarr")
    store.write(range(4), A)
    checksums = ZarrBackend.checksums

    def and_then_it_goes(self: ZarrBackend, shard: int) -> dict[str, str]:
        found = checksums(self, shard)
        (tmp_path / "s.zarr/shards/record/c/0").unlink()
        return found

    monkeypatch.setattr(ZarrBackend, "checksums", and_then_it_goes)
    assert verify(open_store(store.address)).shards[0].state == "pending"


def _mixed(path: Path) -> LabelStore:
    """A store with the record of B over objects of both writers."""
    store = open_store(path, writable=True) if path.exists() else new_store(path)
    store.write(range(4), A)
    mixed = {name: (path / name).read_bytes() for name in ("scores/c/0/0/0/0", "sizes/c/0/0")}
    store.write(range(4), B)
    for name, data in mixed.items():
        (path / name).write_bytes(data)
    return store


def test_a_shard_is_not_replaced_on_a_disk_without_room_for_the_new_one(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with memory_disk(disk, "1m"):
        store = new_store(disk / "s.zarr")
        record = store.write(range(4), A)
        with suppress(OSError), (disk / "large").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with pytest.raises(StoreError, match="No space left on device"):
            store.write(range(4), B)
        assert (store.record(0), served(store)) == (record, "A")
        (disk / "large").unlink()
        store.write(range(4), B)
        assert served(store) == "B"


def test_a_disk_that_loses_what_was_written_is_found_by_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, write = new_store(tmp_path / "s.zarr"), Objects.prepared
    monkeypatch.setattr(
        Objects, "prepared", lambda self, name, data: write(self, name, bytes(len(data)) if "boxes" in name else data)
    )
    with pytest.raises(StoreError, match="cannot write rows 0 to 4 .*: other processes wrote it too: in 6 attempts"):
        store.write(range(4), A)


def test_labels_are_written_once_where_nobody_else_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, names, write = new_store(tmp_path / "s.zarr"), [], Objects.set
    monkeypatch.setattr(Objects, "set", lambda self, name, data: names.append(name) or write(self, name, data))
    store.write(range(4), A)
    assert len(names) == 6
