"""Is nothing written where a store was, once its mount is gone?"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from storage import LabelMap, StoreError, copy, create_store, name_classes, open_store
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tests.storage.mounts.memory_disk import memory_disk

SUFFIXES = pytest.mark.parametrize("suffix", ["zarr", "h5"])


@pytest.fixture
def labels() -> LabelMap:
    return random_labels(np.random.default_rng(0), 10)


@pytest.fixture
def mount(tmp_path: Path, suffix: str) -> Iterator[Path]:
    """A real mount, of a file system in memory."""
    at = tmp_path / f"mount.{suffix}"
    at.mkdir()
    with memory_disk(at):
        yield at


@pytest.mark.parametrize("inside", [False, True])
@SUFFIXES
def test_nothing_is_written_to_a_bare_mount_point(mount: Path, labels: LabelMap, suffix: str, inside: bool) -> None:
    """The root of the store is a folder of the mount, or the mount itself."""
    address = mount / f"stores/labels.{suffix}" if inside else mount
    store = create_store(address, SCHEMA, KEYS)
    store.write(SHARDS[0], labels[:4])
    subprocess.run(["umount", "-l", str(mount)], check=True)
    with pytest.raises(StoreError, match="is gone.*mount still connected.*Nothing is lost"):
        store.write(SHARDS[1], labels[4:8])
    assert list(mount.iterdir()) == []


@SUFFIXES
def test_nothing_is_written_into_another_store_that_lies_there_now(
    tmp_path: Path, labels: LabelMap, suffix: str
) -> None:
    """As when another disk is mounted in its place, or an older store lies in the bare mount point."""
    address = tmp_path / f"labels.{suffix}"
    store = create_store(address, SCHEMA, KEYS)
    address.rename(tmp_path / "away")
    other = create_store(address, SCHEMA, [f"other/{key}" for key in KEYS])
    with pytest.raises(StoreError, match="its own header in it, is not there"):
        store.write(SHARDS[1], labels[4:8])
    assert other.pending() == SHARDS
    for path in sorted(address.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    address.rmdir()
    (tmp_path / "away").rename(address)
    store.write(SHARDS[1], labels[4:8])
    assert open_store(address).pending() == [SHARDS[0], SHARDS[2]]


@SUFFIXES
def test_a_store_whose_classes_are_named_meanwhile_is_no_other(tmp_path: Path, labels: LabelMap, suffix: str) -> None:
    address = tmp_path / f"labels.{suffix}"
    store = create_store(address, SCHEMA, KEYS)
    name_classes(open_store(address, writable=True), [f"class {n}" for n in range(SCHEMA.class_count)])
    store.write(SHARDS[1], labels[4:8])
    assert open_store(address).pending() == [SHARDS[0], SHARDS[2]]


@SUFFIXES
def test_no_folder_is_made_where_a_store_was(tmp_path: Path, labels: LabelMap, suffix: str) -> None:
    address = tmp_path / f"labels.{suffix}"
    store = create_store(address, SCHEMA, KEYS)
    address.rename(tmp_path / "away")
    with pytest.raises(StoreError, match="is gone"):
        store.write(SHARDS[1], labels[4:8])
    with pytest.raises(StoreError, match="cannot write"):
        store.backend.write_object("shards/a", b"data")
    assert not address.exists()
    (tmp_path / "away").rename(address)
    store.write(SHARDS[1], labels[4:8])
    assert open_store(address).pending() == [SHARDS[0], SHARDS[2]]


@SUFFIXES
def test_a_store_that_goes_while_a_shard_is_written_does_not_count_it(
    tmp_path: Path, labels: LabelMap, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tmp_path / f"labels.{suffix}"
    store = create_store(address, SCHEMA, KEYS)
    there = iter([True, False])
    monkeypatch.setattr(type(store.backend), "is_there", lambda backend: next(there))
    with pytest.raises(StoreError, match="is gone"):
        store.write(SHARDS[1], labels[4:8])


@SUFFIXES
def test_a_copy_ends_when_its_target_is_gone(tmp_path: Path, labels: LabelMap, suffix: str) -> None:
    source = create_store(tmp_path / "source.zarr", SCHEMA, KEYS)
    for rows in SHARDS:
        source.write(rows, labels[rows.start : rows.stop])
    target = tmp_path / f"labels.{suffix}"
    with pytest.raises(StoreError, match="is gone"):
        copy(source, target, on_progress=lambda progress: target.exists() and target.rename(tmp_path / "away"))
    assert not target.exists()
