"""Is what cannot be read told from what is damaged, and left as it is?"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage import (
    DamageError,
    LabelStore,
    NotAStoreError,
    StoreError,
    UnreadableError,
    open_store,
    repair,
    repair_steps,
    verify,
)
from tests.storage.contract.samples import SHARDS
from tests.storage.hostile.folders import contents, shard_file


@contextmanager
def no_more_open_files() -> Iterator[None]:
    """The system refuses to open files, as it may anywhere: EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_files_that_the_system_does_not_open_are_unreadable_and_not_damaged(full: LabelStore, address: Path) -> None:
    before, reader = contents(address), open_store(address, writable=True)
    with no_more_open_files():
        found = verify(reader)
        with pytest.raises(UnreadableError, match="Too many open files"):
            open_store(address)
        with pytest.raises(UnreadableError, match="Too many open files"):
            reader.record(1)
        with pytest.raises(UnreadableError):
            reader.read([5])
        with pytest.raises(UnreadableError, match="nothing was repaired"):
            repair(reader, found)
    assert (found.state, {report.state for report in found.shards}) == ("unreadable", {"unreadable"})
    assert "rows 4 to 8 are unreadable" in found.describe()
    assert found.shared == ()
    with pytest.raises(UnreadableError, match="nothing was repaired"):  # also once it can be read: it is asked first
        repair(reader, found)
    assert contents(address) == before
    assert verify(open_store(address)).state == "ok"


def test_one_unreadable_shard_stops_the_repair_of_another_that_is_damaged(full: LabelStore, address: Path) -> None:
    shard_file(address, 0).write_bytes(b"")
    shard_file(address, 1).unlink()
    shard_file(address, 1).symlink_to(shard_file(address, 1))  # a link to itself: the system does not open it
    before, store = contents(address), open_store(address, writable=True)
    found = verify(store)
    assert [report.state for report in found.shards] == ["damaged", "unreadable", "ok"]
    assert "1 ok, 1 unreadable, 1 damaged, 0 pending" in found.describe()
    with pytest.raises(UnreadableError, match="nothing was repaired in .*: 1 files or objects cannot be read"):
        repair(store, found)
    assert contents(address) == before


def test_what_was_damaged_when_it_was_found_and_is_sound_now_is_not_touched(full: LabelStore, address: Path) -> None:
    whole = shard_file(address, 1).read_bytes()
    shard_file(address, 1).write_bytes(whole[:100])
    store = open_store(address, writable=True)
    found = verify(store)
    assert found.shards[1].state == "damaged"
    shard_file(address, 1).write_bytes(whole)
    before = contents(address)
    assert repair(store, found) == []
    assert contents(address) == before


def test_a_store_that_is_gone_is_not_repaired(full: LabelStore, address: Path) -> None:
    """As when its mount is lost: every file is missing, and none of them for certain."""
    shard_file(address, 1).unlink()
    store = open_store(address, writable=True)
    found = verify(store)
    away = address.with_name("away")
    address.rename(away)
    address.mkdir()
    with pytest.raises(NotAStoreError):
        repair(store, found)
    assert contents(address) == {}


def test_a_repair_sets_aside_what_damaged_shards_hold_each_time_anew(
    full: LabelStore, labels: object, address: Path
) -> None:
    sound = full.read(SHARDS[1])
    for time in (1, 2):
        shard = shard_file(address, 1)
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
        held = {path: path.read_bytes() for path in address.rglob("*") if path.is_file() and _is_of(path, address, 1)}
        store = open_store(address, writable=True)
        found = verify(store)
        steps = repair_steps(found)
        assert steps[0] == "rows 4 to 8 become pending; what they hold now is moved to shards/set_aside"
        before = contents(address)
        assert repair(store, found) == []
        aside = address / "shards/set_aside" / str(time)
        for path, bytes_before in held.items():
            assert (aside / path.relative_to(address)).read_bytes() == bytes_before
        assert {*before.values()} <= {*contents(address).values()}  # not a byte was lost
        assert open_store(address).pending() == [SHARDS[1]]
        assert not any("set_aside" in name for name in store.backend.object_names())
        store.write(SHARDS[1], sound)
    assert verify(open_store(address), deep=True).state == "ok"


def test_a_missing_and_an_empty_object_are_damage_for_certain(full: LabelStore, address: Path) -> None:
    shard_file(address, 0).write_bytes(b"")
    assert verify(open_store(address)).shards[0].state == "damaged"
    with pytest.raises(DamageError):
        open_store(address).read([0])


def test_a_folder_in_place_of_the_header_or_of_a_record_is_as_if_that_were_gone(
    full: LabelStore, address: Path
) -> None:
    header, record = {".zarr": ("zarr.json", "shards/record/c/1"), ".h5": ("store.h5", "shards/000001.h5")}[
        address.suffix
    ]
    for name in (record, header):
        (address / name).unlink()
        (address / name).mkdir()
        if name == record:
            assert open_store(address).record(1) is None
            assert open_store(address).pending() == [SHARDS[1]]
    with pytest.raises(DamageError, match=f"the header of the store .* is gone: it has no {header}"):
        open_store(address)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(full: LabelStore, address: Path) -> None:
    shard_file(address, 1).unlink()
    os.mkfifo(shard_file(address, 1))
    with pytest.raises(StoreError, match="not a regular file"):
        open_store(address).read([5])
    assert verify(open_store(address)).shards[1].state == "unreadable"


def _is_of(path: Path, address: Path, shard: int) -> bool:
    name = path.relative_to(address).as_posix()
    return (f"/c/{shard}" in name and "set_aside" not in name) or name == f"shards/{shard:06d}.h5"


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
def test_a_folder_that_the_system_does_not_look_into_is_unreadable(suffix: str, tmp_path: Path) -> None:
    """As one of another user's, which stops nobody who is root: here its name is too long."""
    with pytest.raises(UnreadableError, match="cannot read"):
        open_store(tmp_path / f"{'x' * 300}.{suffix}")
