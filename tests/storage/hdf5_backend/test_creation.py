"""How does an HDF5 store come to be, whoever else makes it or is killed?"""

from __future__ import annotations

import os
import shutil
from multiprocessing import get_context
from pathlib import Path

import h5py
import pytest

from storage import (
    LabelMap,
    LabelStore,
    MismatchError,
    NotAStoreError,
    StoreError,
    create_store,
    find_store,
    open_store,
    verify,
)
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tests.storage.hdf5_backend.fixtures import Hdf5Fixtures


class TestCreation(Hdf5Fixtures):
    def test_nothing_but_a_whole_file_commits_a_shard(
        self, store: LabelStore, labels: LabelMap, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*paths: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(SHARDS[0], labels[0:4])
        Path(address, "shards", "000001.h5.00000000000012ab.partial").write_bytes(b"half")
        assert open_store(address).pending() == SHARDS
        assert not [name for name in store.backend.object_names() if name.startswith("shards")]

    def test_unfinished_files_of_killed_writers_are_removed_when_nobody_writes(
        self, store: LabelStore, labels: LabelMap, address: str
    ) -> None:
        left, others = (
            Path(address, "shards", f"{name}.00000000000012ab.partial") for name in ("000000.h5", "000001.h5")
        )
        left.write_bytes(b"half")
        others.write_bytes(b"half")
        store.write(SHARDS[0], labels[0:4])
        assert left.exists()  # it may be another writer's
        store.backend.remove_leftovers()
        assert not list(Path(address).rglob("*.partial"))
        assert store.pending() == SHARDS[1:]

    def test_what_a_killed_maker_left_is_ignored_and_removed(self, address: str) -> None:
        left = Path(address, "store.h5.00000000000012ab.partial")
        left.parent.mkdir()
        left.write_bytes(b"half")
        assert find_store(address) is None
        assert create_store(address, SCHEMA, KEYS).pending() == SHARDS
        assert not left.exists()

    def test_a_write_that_fails_is_a_store_error_and_the_shard_stays_pending(
        self, store: LabelStore, labels: LabelMap, address: str
    ) -> None:
        Path(address, "shards/000000.h5").mkdir()  # where the file should go
        with pytest.raises(StoreError, match="cannot write rows 0 to 4 .* the same command continues here"):
            store.write(SHARDS[0], labels[0:4])
        assert store.pending() == SHARDS
        assert sorted(path.name for path in Path(address, "shards").iterdir()) == ["000000.h5"]

    def test_any_number_of_processes_may_make_the_same_store_at_once(self, address: str) -> None:
        with get_context("fork").Pool(4) as pool:
            keys = pool.starmap(_create, [(address, KEYS)] * 12)
        assert keys == [KEYS] * 12
        assert sorted(path.name for path in Path(address).iterdir()) == ["shards", "store.h5"]

    def test_who_comes_second_opens_the_store_of_the_first_or_is_refused(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process makes the store when this one has found none and is about to."""
        link = os.link

        def late(partial: Path, path: Path) -> None:
            monkeypatch.undo()
            create_store(address, SCHEMA, KEYS)  # which also removes this one's unfinished half
            link(partial, path)

        for keys in (KEYS, KEYS[:-1]):
            shutil.rmtree(address, ignore_errors=True)
            monkeypatch.setattr(os, "link", late)
            if keys == KEYS:
                assert list(create_store(address, SCHEMA, keys).keys) == KEYS
            else:
                with pytest.raises(MismatchError, match="the store has 10, this run has 9"):
                    create_store(address, SCHEMA, keys)
            assert list(open_store(address).keys) == KEYS

    def test_nothing_other_hdf5_a_folder_and_a_file_are_told_apart(self, tmp_path: Path) -> None:
        with pytest.raises(NotAStoreError, match="there is no store at .*annotate run IMAGES"):
            open_store(tmp_path / "nothing.h5")
        for name in ("other.h5", "text.h5", "folder.h5"):
            (tmp_path / name).mkdir()
        with h5py.File(tmp_path / "other.h5" / "store.h5", "w") as file:
            file["mine"] = 1
        (tmp_path / "text.h5" / "store.h5").write_text("keep me")
        (tmp_path / "folder.h5" / "precious.txt").write_text("keep me")
        (tmp_path / "file.h5").write_text("keep me")
        for name, words in (
            ("other.h5", "is not a store of label maps: its store.h5 does not describe one"),
            ("text.h5", "is not a store of label maps: its store.h5 does not describe one"),
            ("folder.h5", "is not empty and not a store of label maps"),
            ("file.h5", "is a file, not a store of label maps"),
        ):
            for use in (
                lambda name=name: create_store(tmp_path / name, SCHEMA, KEYS),
                lambda name=name: find_store(tmp_path / name),
            ):
                with pytest.raises(NotAStoreError, match=words):
                    use()
            with pytest.raises(NotAStoreError):
                open_store(tmp_path / name)
        with h5py.File(tmp_path / "other.h5" / "store.h5") as file:
            assert list(file) == ["mine"]
        for name in ("text.h5/store.h5", "folder.h5/precious.txt", "file.h5"):
            assert (tmp_path / name).read_text() == "keep me"

    def test_an_address_that_cannot_be_written_is_a_store_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for address in (tmp_path / "file" / "labels.h5", "/proc/labels.h5"):
            with pytest.raises(StoreError, match="cannot make the folder of .*labels.h5.* Give an address below"):
                create_store(address, SCHEMA, KEYS)

    def test_targets_are_one_for_each_row(self, address: str) -> None:
        with pytest.raises(StoreError, match="cannot make a store of 10 rows with 3 targets"):
            create_store(address, SCHEMA, KEYS, [1, 2, 3])
        assert find_store(address) is None

    def test_a_store_without_rows_is_a_store(self, address: str) -> None:
        create_store(address, SCHEMA, [])
        store = open_store(address)
        assert (len(store), store.pending(), list(store.keys), verify(store).state) == (0, [], [], "ok")
        with pytest.raises(StoreError, match="no row for the key"):
            store.find("a.jpg")


def _create(address: str, keys: list[str]) -> list[str]:
    return list(create_store(address, SCHEMA, keys).keys)
