"""Are labels of a bucket read from a local cache, which never has what the bucket's commit records do not name?"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
import pytest
from obstore.store import S3Store

from storage import (
    DamageError,
    LabelMap,
    LabelStore,
    NotLabelledError,
    Publication,
    create_store,
    finalize,
    open_store,
    verify,
)
from storage.encoding import coded_labels as coding
from storage.operations.manifest import differences
from storage.zarr_backend.objects import Objects
from tests import s3
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS

CLASSES = "classes/c/1/0/0/0"
WRITTEN = random_labels(np.random.default_rng(0), 10)
ALL = coding.decode(coding.encode(WRITTEN, SCHEMA), SCHEMA)  # as they are read


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKENLABEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(server: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> LabelStore:
    """A store in a bucket, for writing; its last shard is pending."""
    for name, value in s3.environment(server).items():
        monkeypatch.setenv(name, value)
    made = create_store(f"s3://{s3.BUCKET}/runs/{uuid.uuid4().hex}/labels.zarr", SCHEMA, KEYS, list(range(10)))
    for rows in SHARDS[:2]:
        made.write(rows, WRITTEN[rows.start : rows.stop])
    return made


@pytest.fixture
def bucket(store: LabelStore) -> S3Store:
    return S3Store(s3.BUCKET, prefix=store.address.removeprefix(f"s3://{s3.BUCKET}/"))


def kept(cache: Path) -> list[str]:
    """The names of all objects in the cache."""
    return sorted("/".join(path.relative_to(cache).parts[2:]) for path in cache.rglob("*") if path.is_file())


def same(found: LabelMap, expected: LabelMap) -> bool:
    return found.classes.tobytes() == expected.classes.tobytes() and found.boxes.tobytes() == expected.boxes.tobytes()


def test_only_the_shards_that_are_read_are_kept_and_then_read_from_the_cache(
    store: LabelStore, bucket: S3Store, cache: Path
) -> None:
    assert same(open_store(store.address).read([4, 5]), ALL[4:6])
    names = kept(cache)
    assert len(names) == 5
    assert all(name.split("/c/")[1].startswith("1") for name in names)
    for name in store.record(1).objects:
        bucket.delete(name)
    assert same(open_store(store.address).read([4, 5]), ALL[4:6])
    assert same(open_store(store.address)[5], ALL[5])


def test_a_small_array_is_fetched_without_the_maps(store: LabelStore, cache: Path) -> None:
    assert (open_store(store.address).column("sizes")[:8] == ALL.sizes[:8]).all()
    assert {name.partition("/")[0] for name in kept(cache)} == {"sizes"}


def test_shards_that_are_finished_later_and_those_that_are_written_again_are_read_as_they_are_now(
    store: LabelStore, cache: Path
) -> None:
    reader = open_store(store.address)
    assert same(reader.read([4, 5]), ALL[4:6])
    with pytest.raises(NotLabelledError):
        reader.read([9])
    store.write(SHARDS[2], WRITTEN[8:10])
    assert same(reader.read([9]), ALL[9:10])
    store.write(SHARDS[1], WRITTEN[0:4])
    assert same(reader.read([4, 5]), ALL[4:6])  # what is mapped stays
    reader.backend.release(1)
    assert same(reader.read([4, 5]), ALL[0:2])
    assert same(open_store(store.address).read([4, 5]), ALL[0:2])
    assert len(kept(cache)) == 10


@pytest.mark.parametrize("fault", ["changed", "cut"])
def test_an_object_that_is_changed_or_cut_is_damage_and_is_not_kept(
    fault: str, store: LabelStore, bucket: S3Store, cache: Path
) -> None:
    right = bytes(bucket.get(CLASSES).bytes())
    bucket.put(CLASSES, right[: len(right) // 2] if fault == "cut" else right[:-9] + bytes(9))
    with pytest.raises(DamageError, match=f"{CLASSES} of s3://.* is not the object that its commit record names"):
        open_store(store.address).read([4])
    assert not any("classes" in name for name in kept(cache))
    bucket.put(CLASSES, right)
    assert same(open_store(store.address).read([4]), ALL[4:5])


def test_verify_reads_the_bucket_and_not_what_is_kept(store: LabelStore, bucket: S3Store) -> None:
    open_store(store.address).read([4])
    bucket.put(CLASSES, bytes(bucket.get(CLASSES).bytes())[:-9] + bytes(9))
    assert [report.state for report in verify(open_store(store.address)).shards] == ["ok", "damaged", "pending"]


def test_an_object_that_the_disk_has_damaged_is_fetched_again(store: LabelStore, cache: Path) -> None:
    open_store(store.address).read([4])
    (path,) = cache.rglob(CLASSES)
    path.write_bytes(b"nonsense")
    assert same(open_store(store.address).read([4]), ALL[4:5])
    assert path.read_bytes() != b"nonsense"


def test_what_was_used_least_recently_leaves_a_full_cache(
    store: LabelStore, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_store(store.address)
    first.read([0])
    old = [path for path in cache.rglob("*") if path.is_file()]
    for path in old:
        os.utime(path, (1, 1))
    monkeypatch.setenv("TOKENLABEL_CACHE_GB", "1e-9")
    assert same(open_store(store.address).read([4]), ALL[4:5])
    assert not any(path.exists() for path in old)
    assert same(first.read([0]), ALL[0:1])  # what is mapped stays
    assert same(open_store(store.address).read([0]), ALL[0:1])


def test_without_a_folder_for_the_cache_the_bucket_is_read_itself(
    store: LabelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOKENLABEL_CACHE", str(tmp_path / "file/cache"))
    assert same(open_store(store.address).read([4, 5]), ALL[4:6])


def test_a_store_that_is_written_keeps_nothing(store: LabelStore, cache: Path) -> None:
    assert same(store.read([4, 5]), ALL[4:6])
    assert kept(cache) == []


def test_objects_of_shards_may_be_as_large_as_the_schema_says(
    store: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 bytes in place of the 1 GiB that an object may have of which nothing says more."""
    store.write(SHARDS[2], ALL[8:10])
    finalize(store, Publication(name="tests", source="the tests", licence="CC0-1.0"))
    reader = open_store(store.address)
    limits = Objects.get.__kwdefaults__
    assert limits is not None
    monkeypatch.setitem(limits, "most", 16)
    assert same(reader.read([4, 5]), ALL[4:6])
    assert reader.column("status").tolist() == [0] * 10
    assert [report.state for report in verify(reader).shards] == ["ok"] * 3
    assert list(differences(reader)) == []
    store.backend.forget(1)
    assert store.pending() == [SHARDS[1]]
