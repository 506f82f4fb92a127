"""Are the labels of a shard that lie in the place of another's found when they are read?"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from storage import DamageError, LabelMap, LabelStore, Status, copy, open_store, verify
from storage.encoding.coded_labels import CodedLabels
from tests.storage.contract.samples import SHARDS
from tests.storage.hostile.folders import contents, shard_file


def _swap(one: Path, other: Path) -> None:
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def test_swapped_shards_are_found_when_they_are_read(full: LabelStore, address: Path) -> None:
    _swap(shard_file(address, 0), shard_file(address, 1))
    store = open_store(address)
    for read in (lambda: store[0], lambda: store.read([5]), lambda: store.read([0, 9])):
        with pytest.raises(DamageError, match=r"not the object that its commit record names|not of rows"):
            read()
    assert len(store.read([9])) == 1  # of the third shard


@pytest.mark.parametrize("address", ["zarr"], indirect=True)
@pytest.mark.parametrize("name", CodedLabels._fields)
def test_each_object_of_a_zarr_shard_is_compared_with_the_record(
    full: LabelStore, labels: LabelMap, address: Path, name: str
) -> None:
    failed = LabelMap.unlabelled(Status.MISSING, grid=(6, 5), k=3, class_count=40)
    full.write(SHARDS[1], LabelMap.stack([failed, labels[5], labels[6], labels[7]]), reasons={4: "gone"})
    _swap(address / name / "c/0", address / name / "c/1")
    with pytest.raises(DamageError, match="is not the object that its commit record names"):
        open_store(address).read([0])
    if name in ("boxes", "sizes", "status"):
        with pytest.raises(DamageError, match="is not the object that its commit record names"):
            open_store(address).column(name)


@pytest.mark.parametrize("address", ["h5"], indirect=True)
@pytest.mark.parametrize("names", [*[(name,) for name in CodedLabels._fields], CodedLabels._fields], ids=",".join)
def test_datasets_of_another_hdf5_shard_beside_the_record_of_this_one_are_found(
    full: LabelStore, labels: LabelMap, address: Path, names: tuple[str, ...], tmp_path: Path
) -> None:
    failed = LabelMap.unlabelled(Status.MISSING, grid=(6, 5), k=3, class_count=40)
    full.write(SHARDS[1], LabelMap.stack([failed, labels[5], labels[6], labels[7]]), reasons={4: "gone"})
    kept = full.record(0)
    with h5py.File(shard_file(address, 0), "r+") as to, h5py.File(shard_file(address, 1)) as other:
        for name in names:
            del to[name]
            other.copy(name, to)  # its chunks with their checksums, too
    assert open_store(address).record(0) == kept
    uses = (
        lambda: open_store(address).read([0]),
        lambda: open_store(address)[3],
        lambda: open_store(address).column("status"),
        lambda: copy(open_store(address), str(tmp_path / "copy.zarr")),
    )
    for use in uses:
        with pytest.raises(DamageError, match=f"{names[0]} in .*000000.h5 is not the object that its commit record"):
            use()
    found = verify(open_store(address)).shards[0]
    assert [problem.split(": its SHA-256 is")[0] for problem in found.problems] == [
        f"shards/000000.h5/{name}" for name in sorted(names)
    ]


@pytest.mark.parametrize("address", ["h5"], indirect=True)
def test_what_verify_has_hashed_counts_only_for_the_file_that_it_read(full: LabelStore, address: Path) -> None:
    store, place = open_store(address, writable=True), shard_file(address, 0)
    store.backend.checksums(0)
    place.with_name("new").write_bytes(place.read_bytes())
    with h5py.File(place.with_name("new"), "r+") as to, h5py.File(shard_file(address, 1)) as other:
        del to["scores"]
        other.copy("scores", to)
    place.with_name("new").replace(place)
    store.read([0])  # the file that was hashed is still open
    store.write(SHARDS[2], store.read(SHARDS[2]))  # all are opened again
    with pytest.raises(DamageError, match="scores in .* is not the object"):
        store.read([0])


@pytest.mark.parametrize("address", ["zarr"], indirect=True)
def test_a_swapped_commit_record_is_found(full: LabelStore, address: Path) -> None:
    _swap(address / "shards/record/c/0", address / "shards/record/c/1")
    with pytest.raises(DamageError, match="is of rows 4 to 8, not of rows 0 to 4: it belongs to another shard"):
        open_store(address).record(0)
    with pytest.raises(DamageError, match="belongs to another shard"):
        open_store(address).read([0])


def test_a_shard_that_is_read_again_is_not_compared_again_until_it_changes(
    full: LabelStore, address: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, before = open_store(address), contents(address)
    expected = store.read([0]).classes
    asked: list[int] = []
    if address.suffix == ".zarr":
        monkeypatch.setattr("storage.zarr_backend.shard_reader.hashlib.sha256", lambda *data: asked.append(1))
    else:
        monkeypatch.setattr("storage.hdf5_backend.shards.record_in", lambda *words: asked.append(1))
        monkeypatch.setattr("storage.hdf5_backend.shards.sha256_stored", lambda *words: asked.append(1))
    for _ in range(3):
        store.backend.release(0)
        assert np.array_equal(store.read([0]).classes, expected)
    assert asked == []
    monkeypatch.undo()
    _swap(shard_file(address, 0), shard_file(address, 1))
    store = open_store(address)
    with pytest.raises(DamageError):
        store.read([0])
    assert contents(address) != before
