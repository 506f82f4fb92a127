"""Does the HDF5 backend keep the contract, and what is true of it alone?"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest

from storage import (
    DamageError,
    LabelMap,
    LabelStore,
    MismatchError,
    NotAStoreError,
    Status,
    StoreError,
    copy,
    create_store,
    find_store,
    hdf5_shards,
    key_index,
    open_store,
    repair,
    scores,
    verify,
)
from storage.manifest import write_manifest
from tests.labels import random_labels
from tests.storage.contract import KEYS, SCHEMA, SHARDS, StoreContract

ARRAYS = ("classes", "scores", "boxes", "sizes", "status")
NOT_WRITTEN = "store.h5 is not what was written: its SHA-256 does not hold"


class TestHdf5Store(StoreContract):
    dies_in = "os:replace", 1

    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return str(tmp_path / "labels.h5")

    @pytest.fixture
    def damage(self, address: str) -> Callable[[str, int], None]:
        def flip(what: str, place: int) -> None:
            name, shard = what.split("/")
            path = Path(address, "shards", f"{int(shard):06d}.h5")
            with h5py.File(path, locking=False) as file:  # the bytes of its chunks, one after the other
                array = file[name].id
                chunks = [array.get_chunk_info(n) for n in range(array.get_num_chunks())]
            places = [chunk.byte_offset + n for chunk in chunks for n in range(chunk.size)]
            _flip(path, places[place % len(places)])

        return flip

    @pytest.fixture
    def forget(self, address: str) -> Callable[[int], None]:
        return lambda shard: Path(address, "shards", f"{shard:06d}.h5").unlink()

    @pytest.fixture
    def age(self, address: str) -> Callable[[], None]:
        def change() -> None:
            with h5py.File(Path(address, "store.h5"), "r+") as file:
                file.attrs["tokenlabel"] = file.attrs["tokenlabel"].replace(b'"format": 1', b'"format": 2')

        return change

    def test_any_hdf5_reader_has_all_arrays_from_one_file_wherever_the_folder_is(
        self, full: LabelStore, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = full.read(range(10))
        shutil.copytree(address, tmp_path / "elsewhere")
        shutil.rmtree(address)
        monkeypatch.chdir("/")
        with h5py.File(tmp_path / "elsewhere" / "store.h5") as file:
            for name in ("classes", "boxes", "sizes", "status"):
                assert (file[name][:] == getattr(read, name)).all(), name
            assert (scores.decode(file["scores"][:]) == read.scores).all()
            assert file["keys"].asstr()[:].tolist() == KEYS
            assert file["targets"][:].tolist() == list(range(10))

    def test_shards_that_are_not_there_are_fill_to_every_reader(
        self, full: LabelStore, address: str, forget: Callable[[int], None]
    ) -> None:
        forget(1)
        with h5py.File(Path(address, "store.h5")) as file:
            assert file["status"][:].tolist() == [0] * 4 + [255] * 4 + [0] * 2
            assert (file["classes"][4:8] == 65535).all()
            assert np.isnan(file["boxes"][:]).all(-1).tolist() == [False] * 4 + [True] * 4 + [False] * 2

    def test_every_array_names_its_dimensions_and_the_scores_their_encoding(
        self, store: LabelStore, address: str
    ) -> None:
        with h5py.File(Path(address, "store.h5")) as file:
            labels = {name: [dimension.label for dimension in file[name].dims] for name in (*ARRAYS, "keys")}
            assert b'"steps": 128' in file["scores"].attrs["encoding"]
        assert labels["classes"] == labels["scores"] == ["image", "y", "x", "rank"]
        assert all(names[0] == "image" and all(names) for names in labels.values())

    def test_nothing_but_a_whole_file_commits_a_shard(
        self, store: LabelStore, labels: LabelMap, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*paths: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(SHARDS[0], labels[0:4])
        Path(address, "shards", "000001.h5.12ab.partial").write_bytes(b"half")
        assert open_store(address).pending() == SHARDS
        assert not [name for name in store.object_names() if name.startswith("shards")]

    def test_what_killed_writers_left_is_tidied_up_when_nobody_writes(
        self, store: LabelStore, labels: LabelMap, address: str
    ) -> None:
        left, others = (Path(address, "shards", f"{name}.12ab.partial") for name in ("000000.h5", "000001.h5"))
        left.write_bytes(b"half")
        others.write_bytes(b"half")
        store.write(SHARDS[0], labels[0:4])
        assert left.exists()  # it may be another writer's
        store.tidy()
        assert not list(Path(address).rglob("*.partial"))
        assert store.pending() == SHARDS[1:]

    def test_what_a_killed_maker_left_is_no_obstacle_and_is_swept(self, address: str) -> None:
        left = Path(address, "store.h5.12ab.partial")
        left.parent.mkdir()
        left.write_bytes(b"half")
        assert find_store(address) is None
        assert create_store(address, SCHEMA, KEYS).pending() == SHARDS
        assert not left.exists()

    def test_a_write_that_fails_is_a_store_error_and_the_shard_stays_pending(
        self, store: LabelStore, labels: LabelMap, address: str
    ) -> None:
        Path(address, "shards/000000.h5").mkdir()  # where the file should go
        with pytest.raises(StoreError, match="cannot write rows 0 to 4 .* the same command goes on here"):
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
            create_store(address, SCHEMA, KEYS)  # which also sweeps this one's half
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
            ("other.h5", "is not a store of label maps, whatever its store.h5 is"),
            ("text.h5", "is not a store of label maps, whatever its store.h5 is"),
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

    def test_a_place_that_cannot_be_written_is_a_store_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for address in (tmp_path / "file" / "labels.h5", "/proc/labels.h5"):
            with pytest.raises(StoreError, match="cannot write the store"):
                create_store(address, SCHEMA, KEYS)

    def test_targets_are_one_for_each_row(self, address: str) -> None:
        with pytest.raises(StoreError, match="cannot make a store of 10 rows with 3 targets"):
            create_store(address, SCHEMA, KEYS, [1, 2, 3])
        assert find_store(address) is None

    def test_a_header_that_is_gone_or_changed_is_damage(self, full: LabelStore, address: str) -> None:
        path = Path(address, "store.h5")
        with h5py.File(path, "r+") as file:
            file.attrs["tokenlabel"] = file.attrs["tokenlabel"].replace(b'"k": 3', b'"k": 2')
        with pytest.raises(DamageError, match="the header of .* is not the one that was written"):
            open_store(address)
        with h5py.File(path, "r+") as file:
            del file.attrs["tokenlabel"]
        for data in (path.read_bytes(), b"", b"no HDF5"):
            path.write_bytes(data)
            for use in (open_store, find_store, lambda address: create_store(address, SCHEMA, KEYS)):
                with pytest.raises(DamageError, match="the header of the store .* is damaged"):
                    use(address)
        path.unlink()
        for use in (open_store, find_store, lambda address: create_store(address, SCHEMA, KEYS)):
            with pytest.raises(DamageError, match="the header of the store .* is gone: it has no store.h5"):
                use(address)

    @pytest.mark.parametrize("name", ["keys", "targets"])
    def test_keys_and_targets_that_were_changed_are_damage(self, full: LabelStore, address: str, name: str) -> None:
        with h5py.File(Path(address, "store.h5"), "r+") as file:
            file[name][3] = "another.jpg" if name == "keys" else 7
        with pytest.raises(DamageError, match=f"the {name} of .*: their SHA-256 does not hold"):
            len(getattr(open_store(address), name))
        if name == "keys":  # what follows from keys cannot be made of others
            with pytest.raises(DamageError, match="SHA-256 does not hold"):
                open_store(address, writable=True).mend()

    def test_a_commit_record_beyond_what_hdf5_checks_is_checked(self, address: str) -> None:
        schema, failed = (
            replace(SCHEMA, rows_per_shard=10),
            LabelMap.unlabelled(Status.MISSING, grid=(6, 5), k=3, class_count=40),
        )
        store = create_store(address, schema, KEYS)
        reasons = {row: f"{row}" + "no such file; " * 700 for row in range(10)}
        record = store.write(range(10), LabelMap.stack([failed] * 10), reasons=reasons)
        assert len(record.to_text()) > 2**16
        assert open_store(address).record(0) == record
        path = Path(address, "shards/000000.h5")
        path.write_bytes(path.read_bytes().replace(b"no such file; no", b"no such fire; no", 1))
        with pytest.raises(DamageError, match=r"the commit record in .*000000\.h5 is not the one that was written"):
            open_store(address).record(0)
        with h5py.File(path, "r+") as file:
            del file.attrs["record"]
        report = verify(open_store(address)).shards[0]
        assert (report.state, report.problems[0].split("h5 ")[0][:20]) == ("damaged", "the commit record in")

    def test_a_shard_of_another_store_or_another_place_is_damage(
        self, full: LabelStore, address: str, tmp_path: Path
    ) -> None:
        other = create_store(tmp_path / "other.h5", replace(SCHEMA, k=2), KEYS)
        other.write(SHARDS[1], random_labels(np.random.default_rng(9), 4, k=2))
        place = Path(address, "shards/000001.h5")
        shutil.copy(tmp_path / "other.h5/shards/000001.h5", place)
        with pytest.raises(
            DamageError, match=r"is of another store: its classes are uint16 \(4, 6, 5, 2\), not uint16"
        ):
            open_store(address).read([5])
        place.unlink()
        shutil.copy(Path(address, "shards/000000.h5"), place)
        report = verify(open_store(address)).shards[1]
        assert report.state == "damaged"
        assert any("the commit record is of rows 0 to 4" in problem for problem in report.problems)

    @pytest.mark.parametrize("name", ARRAYS)
    def test_an_array_that_is_gone_or_other_is_damage(self, full: LabelStore, address: str, name: str) -> None:
        path = Path(address, "shards/000001.h5")
        with h5py.File(path, "r+") as file:
            file[name][0] = file[name][1] + 1
        report = verify(open_store(address)).shards[1]
        assert report.state == "damaged"
        assert any(f"shards/000001.h5/{name}: its SHA-256 is" in problem for problem in report.problems)
        with h5py.File(path, "r+") as file:
            del file[name]
        assert [report.state for report in verify(open_store(address)).shards] == ["ok", "damaged", "ok"]
        with pytest.raises(DamageError, match=r"the shard .*000001\.h5 cannot be read"):
            open_store(address).read([5])

    def test_damage_of_one_row_is_named_and_leaves_the_others(
        self, full: LabelStore, address: str, damage: Callable[[str, int], None]
    ) -> None:
        good = full.read([1])
        damage("scores/0", 3)
        with pytest.raises(DamageError, match=r"row 0 of the shard .*000000\.h5 is damaged: .*annotate verify"):
            open_store(address).read([1, 0])
        assert (open_store(address).read([1]).scores == good.scores).all()

    def test_no_byte_of_a_file_can_change_a_label(self, full: LabelStore, address: str, tmp_path: Path) -> None:
        """All that HDF5 itself keeps in a shard's file: some hundreds of bytes, each flipped alone."""
        good, path = full.read(SHARDS[0]), Path(address, "shards/000000.h5")
        data, damaged = path.read_bytes(), 0
        for place in range(0, len(data), 13):
            path.unlink()  # a file of its own each time: HDF5 knows open files by their inode
            path.write_bytes(data)
            _flip(path, place)
            try:
                served = open_store(address).read(SHARDS[0])
            except DamageError:
                damaged += 1
            else:
                for name in ARRAYS:
                    assert (getattr(served, name) == getattr(good, name)).all(), (place, name)
        assert damaged > 100

    def test_no_byte_of_the_shared_file_gives_a_key_the_row_of_another_or_escapes_verification(
        self, store: LabelStore, address: str
    ) -> None:
        path = Path(address, "store.h5")
        data, damaged = path.read_bytes(), 0
        for place in range(0, len(data), 29):
            path.unlink()
            path.write_bytes(data)
            _flip(path, place)
            try:
                opened = open_store(address)
                assert verify(opened).shared, place
                assert (opened.schema, len(opened)) == (SCHEMA, 10), place
                assert [opened.find(key) for key in KEYS] == list(range(10)), place
                assert list(opened.keys) == KEYS
                assert opened.targets.tolist() == list(range(10))
            except StoreError:
                damaged += 1
        assert damaged > 50

    @pytest.mark.parametrize("name", ARRAYS)
    @pytest.mark.parametrize("change", ["gone", "plain", "another fill", "another source"])
    def test_a_virtual_array_that_is_not_what_follows_is_found_and_mended(
        self, full: LabelStore, address: str, name: str, change: str
    ) -> None:
        with h5py.File(Path(address, "store.h5"), "r+") as file:
            shape, dtype, fill = file[name].shape, file[name].dtype, file[name].fillvalue
            del file[name]
            if change == "plain":
                file.create_dataset(name, shape, dtype, fillvalue=fill)
            elif change != "gone":
                layout = h5py.VirtualLayout(shape, dtype)
                sources = [0, 1, 2] if change == "another fill" else [0, 0, 2]
                for rows, source in zip(SHARDS, sources, strict=True):
                    layout[rows.start : rows.stop] = h5py.VirtualSource(
                        f"shards/{source:06d}.h5", name, (len(rows), *shape[1:])
                    )
                file.create_virtual_dataset(name, layout, fillvalue=1 if change == "another fill" else fill)
        store = open_store(address, writable=True)
        found = verify(store)
        assert found.shared == (NOT_WRITTEN,)
        assert repair(store, found) == []
        assert verify(open_store(address)).state == "ok"
        with h5py.File(Path(address, "store.h5")) as file:
            assert file["classes"][5].tolist() == full.read([5]).classes[0].tolist()

    @pytest.mark.parametrize("name", ["key_index/digests", "key_index/slots"])
    @pytest.mark.parametrize("change", ["other", "gone", "short"])
    def test_a_key_index_that_is_not_that_of_the_keys_is_found_and_mended(
        self, store: LabelStore, address: str, name: str, change: str
    ) -> None:
        path = Path(address, "store.h5")
        with h5py.File(path, "r+") as file:
            values = file[name][:]
            del file[name]
            if change != "gone":
                file[name] = values[:-1] if change == "short" else np.zeros_like(values)
        opened = open_store(address, writable=True)
        assert all(_found(opened, key) in (None, row) for row, key in enumerate(KEYS))
        assert verify(opened).shared == ("the key index is not that of the keys", NOT_WRITTEN)
        opened.mend()
        assert [opened.find(key) for key in KEYS] == list(range(10))
        assert verify(open_store(address)).shared == ()

    def test_a_key_index_of_many_blocks_finds_every_row(
        self, store: LabelStore, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(key_index, "BLOCK", 4)
        opened = open_store(address)
        assert [opened.find(key) for key in KEYS] == list(range(10))

    def test_a_shard_that_was_written_again_or_forgotten_is_looked_at_anew(
        self, full: LabelStore, labels: LabelMap, address: str
    ) -> None:
        full.read([0])
        full.write(SHARDS[0], labels[4:8])
        assert (full.read([0]).sizes == labels[[4]].sizes).all()
        full.forget(0)
        with pytest.raises(StoreError, match="rows 0 to 4 .* have no labels yet"):
            full.read([0])
        open_store(address, writable=True).write(SHARDS[0], labels[0:4])
        assert (full.read([0]).sizes == labels[[0]].sizes).all()
        other = Path(address, "shards/000000.h5").read_bytes()
        full.write(SHARDS[0], labels[4:8])
        full.read([0])
        full.write_object("shards/000000.h5", other)
        assert (full.read([0]).sizes == labels[[0]].sizes).all()

    def test_few_files_are_open_at_once_and_those_read_last(
        self, full: LabelStore, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hdf5_shards, "_OPEN_SHARDS", 2)
        opened = []
        really = hdf5_shards.open_file
        monkeypatch.setattr(hdf5_shards, "open_file", lambda path: opened.append(path.stem[-1]) or really(path))
        reader = open_store(address)
        before = _open_files(address)
        for row in (0, 5, 1, 9, 2, 6):  # shards 0, 1, 0, 2, 0, 1
            reader.read([row])
            assert _open_files(address) - before <= 2
        assert opened == ["0", "1", "2", "1"]

    def test_a_batch_opens_each_file_once(
        self, full: LabelStore, address: str, labels: LabelMap, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hdf5_shards, "_OPEN_SHARDS", 1)
        opened = []
        really = hdf5_shards.open_file
        monkeypatch.setattr(hdf5_shards, "open_file", lambda path: opened.append(path.stem[-1]) or really(path))
        rows = [9, 0, 5, 1, 8, 4, 0]
        assert (open_store(address).read(rows).sizes == labels[rows].sizes).all()
        assert sorted(opened) == ["0", "1", "2"]

    def test_files_that_were_opened_before_a_fork_are_not_used_after_it(
        self, full: LabelStore, address: str, labels: LabelMap, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reader = open_store(address)
        reader.read([0])
        full.write(SHARDS[0], labels[4:8])  # which an open file does not show
        assert (reader.read([0]).sizes == labels[[0]].sizes).all()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert (reader.read([0]).sizes == labels[[4]].sizes).all()

    def test_a_child_that_lets_go_of_files_does_not_disturb_its_parent(self, full: LabelStore) -> None:
        expected = full.read(range(10)).classes
        with get_context("fork").Pool(2) as pool:
            results = [pool.apply_async(_read_all, (full,)) for _ in range(8)]
            for _ in range(20):
                assert (full.read(range(10)).classes == expected).all()
            assert all((result.get() == expected).all() for result in results)

    def test_threads_read_at_once(self, full: LabelStore, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hdf5_shards, "_OPEN_SHARDS", 1)
        expected, reader = full.read(range(10)).classes, open_store(address)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(8) as pool:
                for n, classes in enumerate(pool.map(lambda n: reader.read([n % 10]).classes, range(1000))):
                    assert (classes[0] == expected[n % 10]).all()
        finally:
            sys.setswitchinterval(interval)

    def test_locks_of_others_do_not_matter(self, full: LabelStore, address: str) -> None:
        with ExitStack() as locked:
            for name in full.object_names():
                fcntl.flock(locked.enter_context(Path(address, name).open("rb")), fcntl.LOCK_EX)
            opened = open_store(address)
            assert opened.find(KEYS[5]) == 5
            assert len(opened.read([0, 9])) == 2
            assert verify(opened).state == "ok"

    def test_files_that_this_process_reads_otherwise_are_read(self, full: LabelStore, address: str) -> None:
        with h5py.File(Path(address, "store.h5")) as file:
            classes = file["classes"][:]
            assert (open_store(address).read(range(10)).classes == classes).all()

    def test_logits_and_many_classes_rest_bit_for_bit_and_move_to_zarr_and_back(
        self, tmp_path: Path, labels: LabelMap
    ) -> None:
        schema = replace(SCHEMA, class_count=70_000, scores="logit", score_type="float16")
        logits = LabelMap(
            classes=labels.classes.astype(np.uint32) + 65_535,
            scores=np.log(labels.scores + 1e-6).astype(np.float16),
            boxes=labels.boxes,
            sizes=labels.sizes,
            status=labels.status,
            kind="logit",
        )
        first = create_store(tmp_path / "first.h5", schema, KEYS, list(range(10)))
        for rows in (SHARDS[0], SHARDS[2]):
            first.write(rows, logits[rows.start : rows.stop], run={"attempt": 3})
        assert copy(first, str(tmp_path / "second.zarr")).pending == 4
        assert copy(open_store(tmp_path / "second.zarr"), str(tmp_path / "third.h5")).pending == 4
        third = open_store(tmp_path / "third.h5")
        for store in (first, third):
            read = store.read([0, 3, 9])
            assert read.classes.dtype == np.uint32
            assert read.scores.dtype == np.float16
            for name in ARRAYS:
                assert (getattr(read, name) == getattr(logits[[0, 3, 9]], name)).all(), name
        assert third.record(2) == first.record(2)
        assert third.checksums(0) == first.checksums(0)
        assert verify(third, deep=True).shared == ()

    def test_a_store_without_rows_is_a_store(self, address: str) -> None:
        create_store(address, SCHEMA, [])
        store = open_store(address)
        assert (len(store), store.pending(), list(store.keys), verify(store).state) == (0, [], [], "ok")
        with pytest.raises(StoreError, match="no row for the key"):
            store.find("a.jpg")

    def test_its_manifest_is_one_that_sha256sum_checks(self, full: LabelStore, address: str) -> None:
        Path(address, "shards/000000.h5.12ab.partial").write_bytes(b"half")
        assert write_manifest(full) == 4
        command = ["sha256sum", "-c", "--quiet", "MANIFEST.sha256"]
        assert subprocess.run(command, cwd=address, check=False).returncode == 0
        assert verify(open_store(address)).state == "ok"
        Path(address, "store.h5").write_bytes(Path(address, "store.h5").read_bytes() + b"\0")
        assert verify(open_store(address)).shared == (
            NOT_WRITTEN,
            "store.h5 is not what MANIFEST.sha256 says; `annotate finalize` writes it anew, if the change was meant",
        )


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("labels.h5", "Hdf5Store"),
        ("labels.hdf5", "Hdf5Store"),
        ("labels.h5/", "Hdf5Store"),
        ("labels.h5.zarr", "ZarrStore"),
        ("h5", "ZarrStore"),
    ],
)
def test_the_name_of_an_address_says_which_backend_it_is(tmp_path: Path, name: str, backend: str) -> None:
    address = f"{tmp_path}/{name}"
    assert type(create_store(address, SCHEMA, KEYS)).__name__ == backend
    assert type(open_store(address)).__name__ == backend
    assert type(find_store(address)).__name__ == backend


def test_without_h5py_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    for use in (open_store, find_store, lambda address: create_store(address, SCHEMA, KEYS)):
        with pytest.raises(StoreError, match=r"labels\.h5: HDF5 stores need h5py: pip install 'tokenlabel\[hdf5\]'"):
            use(tmp_path / "labels.h5")
    assert create_store(tmp_path / "labels.zarr", SCHEMA, KEYS).pending() == SHARDS


def test_a_backend_is_imported_only_when_it_is_asked_for(tmp_path: Path) -> None:
    create_store(tmp_path / "labels.h5", SCHEMA, KEYS)
    create_store(tmp_path / "labels.zarr", SCHEMA, KEYS)
    for name, other in (("labels.h5", "zarr"), ("labels.zarr", "h5py")):
        program = (
            f"import storage, sys; storage.open_store({str(tmp_path / name)!r}); sys.exit({other!r} in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0, name


def _flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def _open_files(address: str) -> int:
    places = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return sum(str(place.readlink()).startswith(address) for place in places if place.is_symlink())


def _found(store: LabelStore, key: str) -> int | None:
    try:
        return store.find(key)
    except StoreError:
        return None


def _create(address: str, keys: list[str]) -> list[str]:
    return list(create_store(address, SCHEMA, keys).keys)


def _read_all(store: LabelStore) -> np.ndarray:
    return store.read(range(10)).classes
