"""Does anything that is done with a store leave its folder, whatever links lie in it?"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from storage import (
    LabelMap,
    LabelStore,
    Publication,
    StoreError,
    UnreadableError,
    copy,
    create_store,
    finalize,
    open_store,
    repair,
    verify,
)
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tests.storage.hostile.folders import contents, shard_file, shared_file


def _replace_by_link(path: Path, target: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)


def _folders(address: Path) -> list[Path]:
    return [path for path in sorted(address.rglob("*"), reverse=True) if path.is_dir()]


def test_no_folder_that_is_a_link_is_written_through_emptied_or_read(
    full: LabelStore, labels: LabelMap, address: Path, victim: Path, tmp_path: Path
) -> None:
    before = contents(victim)
    for folder in [path.relative_to(address) for path in _folders(address)]:
        evil = tmp_path / f"evil{address.suffix}"
        shutil.copytree(address, evil, symlinks=True)
        _replace_by_link(evil / folder, victim)
        store = open_store(evil, writable=True)
        found = verify(store)
        assert found.state != "ok", folder
        uses = (
            lambda store=store, found=found: repair(store, found),
            lambda store=store: [store.write(rows, labels[rows.start : rows.stop]) for rows in SHARDS],
            lambda store=store: store.backend.rebuild(),
            lambda store=store: [store.backend.forget(shard) for shard in range(3)],
            lambda store=store: store.backend.remove_leftovers(),
            lambda store=store: finalize(store, Publication(name="a", source="b", licence="c")),
            lambda evil=evil: create_store(evil, SCHEMA, KEYS, list(range(10))),
            lambda store=store: store.read(range(10)),
        )
        for use in uses:
            with suppress(StoreError):
                use()
            assert contents(victim) == before, folder
        shutil.rmtree(evil)


@pytest.mark.parametrize("where", [shard_file, shared_file])
def test_a_file_that_is_a_link_out_of_the_store_is_not_read_and_the_remedy_is_named(
    full: LabelStore, address: Path, tmp_path: Path, where: object
) -> None:
    path = where(address, 1) if where is shard_file else where(address)
    private = tmp_path / "private"
    shutil.move(path, private)
    path.symlink_to(private)
    with pytest.raises(UnreadableError, match="leads out of the store and is not followed; `cp -rL` copies the files"):
        _read_all(address)
    with suppress(UnreadableError):
        assert verify(open_store(address)).state == "unreadable"
    with pytest.raises(StoreError):
        copy(open_store(address), str(tmp_path / "copy.zarr"))


def test_a_folder_of_shards_that_is_a_link_is_not_listed(full: LabelStore, address: Path, tmp_path: Path) -> None:
    """What lies there would count as labelled."""
    folder = address / ("shards/record/c" if address.suffix == ".zarr" else "shards")
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnreadableError, match="behind a link, which is not followed"):
        open_store(address).pending()


@pytest.mark.parametrize("where", [shard_file, shared_file])
def test_a_pipe_is_unreadable_and_not_waited_for(full: LabelStore, address: Path, where: object) -> None:
    path = where(address, 1) if where is shard_file else where(address)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UnreadableError, match="not a regular file"):
        _read_all(address)


def test_a_link_within_the_store_is_read_and_replaced_but_not_written_through(
    full: LabelStore, labels: LabelMap, address: Path
) -> None:
    path, inside = shard_file(address, 1), address / "blobs" / "b7"
    inside.parent.mkdir()
    shutil.move(path, inside)
    path.symlink_to(inside)
    assert (open_store(address).read(SHARDS[1]).sizes == labels[4:8].sizes).all()
    assert verify(open_store(address)).state == "ok"
    held = inside.read_bytes()
    open_store(address, writable=True).write(SHARDS[1], labels[0:4])
    assert not path.is_symlink()
    assert inside.read_bytes() == held


def test_a_store_whose_own_address_is_a_link_is_like_any_other(full: LabelStore, address: Path) -> None:
    link = address.with_name(f"link{address.suffix}")
    link.symlink_to(address)
    assert verify(open_store(link), deep=True).state == "ok"


def test_making_a_store_does_not_write_through_links_of_one_that_was_begun(tmp_path: Path, victim: Path) -> None:
    address, before = tmp_path / "labels.zarr", contents(victim)
    create_store(address, SCHEMA, KEYS)
    root = address / "zarr.json"
    root.write_text(root.read_text().replace('"attributes": {', '"attributes": {"tokenlabel:creating": true,', 1))
    for name in ("keys/c", "targets/c", "key_index"):
        _replace_by_link(address / name, victim)
    with pytest.raises(StoreError, match="behind a link, which is not followed"):
        create_store(address, SCHEMA, KEYS)
    assert contents(victim) == before


def _read_all(address: Path) -> None:
    store = open_store(address)
    store.read([5])
    len(store.keys)


def test_a_folder_with_the_name_of_a_leftover_stays(full: LabelStore, address: Path) -> None:
    (address / "mine.partial").mkdir()
    (address / "killed.0123456789abcdef.partial").write_text("unfinished")
    full.backend.remove_leftovers()
    assert [path.name for path in address.glob("*.partial")] == ["mine.partial"]


def test_a_folder_in_place_of_a_part_of_the_key_index_is_a_message(full: LabelStore, address: Path) -> None:
    if address.suffix != ".zarr":
        pytest.skip("HDF5 keeps the index in the file of all shards")
    chunk = address / "key_index/slots/c/0"
    chunk.unlink()
    (chunk / "sub").mkdir(parents=True)
    found = verify(full)
    assert found.state == "damaged"
    with pytest.raises(StoreError, match=r"cannot write key_index/slots of .*directory"):
        repair(open_store(address, writable=True), found)
