"""Is damage to an HDF5 store found and repaired?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from storage import (
    DamageError,
    LabelMap,
    LabelStore,
    Status,
    StoreError,
    create_store,
    find_store,
    open_store,
    repair,
    verify,
)
from storage.keys import key_index
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tests.storage.hdf5_backend.fixtures import ARRAYS, NOT_WRITTEN, Hdf5Fixtures, flip_byte


class TestDamage(Hdf5Fixtures):
    def test_a_header_that_is_gone_or_changed_is_damage(self, full: LabelStore, address: str) -> None:
        path = Path(address, "store.h5")
        with h5py.File(path, "r+") as file:
            file.attrs["tokenlabel"] = np.bytes_(file.attrs["tokenlabel"].replace(b'"k": 3', b'"k": 2'))
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
        with pytest.raises(DamageError, match=f"the {name} of .*: their SHA-256 does not match"):
            len(getattr(open_store(address), name))
        if name == "keys":  # what follows from keys cannot be made of others
            with pytest.raises(DamageError, match="SHA-256 does not match"):
                open_store(address, writable=True).backend.rebuild()

    def test_a_commit_record_beyond_what_hdf5_checks_is_checked(self, address: str) -> None:
        schema, failed = (
            replace(SCHEMA, rows_per_shard=10),
            LabelMap.unlabelled(Status.MISSING, grid=(6, 5), k=3, class_count=40),
        )
        store = create_store(address, schema, KEYS)
        reasons = {row: f"{row}" + "no such file; " * 700 for row in range(10)}
        run = {"note": "x" * 2**15}
        record = store.write(range(10), LabelMap.stack([failed] * 10), reasons=reasons, run=run)
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
            DamageError, match=r"belongs to another store: its classes are uint16 \(4, 6, 5, 2\), not plain uint16"
        ):
            open_store(address).read([5])
        place.unlink()
        shutil.copy(Path(address, "shards/000000.h5"), place)
        report = verify(open_store(address)).shards[1]
        assert report.state == "damaged"
        assert any("is of rows 0 to 4, not of rows 4 to 8" in problem for problem in report.problems)

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

    @pytest.mark.parametrize("name", ["classes", "status", "targets", "key_index/slots"])
    def test_numbers_that_are_names_to_hdf5_are_damage(self, full: LabelStore, address: str, name: str) -> None:
        """An enum of the right numbers, which numpy cannot tell from them."""
        of_shard = name in ARRAYS
        with h5py.File(Path(address, "shards/000001.h5" if of_shard else "store.h5"), "r+") as file:
            old, values = file[name], file[name][()]
            how = {what: getattr(old, what) for what in ("shuffle", "fletcher32", "compression", "compression_opts")}
            how = {"chunks": old.chunks, **how} if old.chunks else {}
            del file[name]
            dtype = h5py.enum_dtype({"one": 1}, values.dtype)
            file.create_dataset(name, data=values, dtype=dtype, **how)
        store = open_store(address)
        uses = {"targets": lambda: store.targets, "key_index/slots": lambda: store.find(KEYS[0])}
        with pytest.raises(DamageError, match=f"{name}.* plain {values.dtype}"):
            uses.get(name, lambda: store.read([5]))()
        assert verify(open_store(address)).state == "damaged"

    @pytest.mark.parametrize("name", ["store.h5", "shards/000001.h5"])
    @pytest.mark.parametrize("version", ["earliest", "v108"])
    def test_a_file_whose_metadata_have_no_checksums_is_damage(
        self, full: LabelStore, address: str, name: str, version: str
    ) -> None:
        path = Path(address, name)
        with h5py.File(path) as old, h5py.File(f"{path}.new", "w", libver=(version, "v110")) as new:
            for part in old:
                old.copy(part, new)
            for attribute, value in old.attrs.items():
                new.attrs[attribute] = value
        Path(f"{path}.new").replace(path)
        with pytest.raises(DamageError, match="without checksums of its metadata: its superblock is of version [02]"):
            open_store(address).read([5])
        if "shards" in name:
            assert [report.state for report in verify(open_store(address)).shards] == ["ok", "damaged", "ok"]

    def test_damage_of_one_row_is_damage_of_its_shard_and_is_named_where_the_shard_was_sound(
        self, full: LabelStore, address: str, damage: Callable[[str, int], None]
    ) -> None:
        reader = open_store(address)
        good = reader.read([1])
        damage("scores/0", 3)
        with pytest.raises(DamageError, match=r"row 0 of the shard .*000000\.h5 is damaged: .*annotate verify"):
            reader.read([1, 0])
        assert (reader.read([1]).scores == good.scores).all()
        with pytest.raises(DamageError, match=r"the shard .*000000\.h5 cannot be read"):
            open_store(address).read([1])

    def test_no_byte_of_a_file_can_change_a_label(self, full: LabelStore, address: str, tmp_path: Path) -> None:
        """All that HDF5 itself keeps in a shard's file: some hundreds of bytes, each flipped alone."""
        good, path = full.read(SHARDS[0]), Path(address, "shards/000000.h5")
        data, damaged = path.read_bytes(), 0
        for place in range(0, len(data), 13):
            path.unlink()  # a file of its own each time: HDF5 knows open files by their inode
            path.write_bytes(data)
            flip_byte(path, place)
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
            flip_byte(path, place)
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
    def test_a_virtual_array_that_is_not_what_follows_is_found_and_repaired(
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
    def test_a_key_index_that_is_not_that_of_the_keys_is_found_and_repaired(
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
        assert verify(opened).shared == ("the key index does not belong to the keys", NOT_WRITTEN)
        opened.backend.rebuild()
        assert [opened.find(key) for key in KEYS] == list(range(10))
        assert verify(open_store(address)).shared == ()

    def test_a_key_index_of_many_blocks_finds_every_row(
        self, store: LabelStore, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(key_index, "BLOCK_ENTRIES", 4)
        opened = open_store(address)
        assert [opened.find(key) for key in KEYS] == list(range(10))


def _found(store: LabelStore, key: str) -> int | None:
    try:
        return store.find(key)
    except StoreError:
        return None
