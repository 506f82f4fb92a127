"""Does the Zarr backend keep the contract, and what is true of it alone?"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr

from storage import (
    DamageError,
    LabelStore,
    NotAStoreError,
    StoreError,
    create_store,
    find_store,
    open_store,
    verify,
)
from storage.encoding.coded_labels import Layout
from storage.zarr_backend.shard_writer import shard_object, string_object
from tests.labels import random_labels
from tests.storage.contract import StoreContract
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS


def test_a_recipe_that_indentation_makes_too_long_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    deep: list[object] = [1] * 20_000
    for _ in range(60):
        deep = [deep]
    with pytest.raises(StoreError, match=r"it has [0-9,]+ bytes; at most 33,554,432 are read\. .* parts of recipe"):
        create_store(tmp_path / "a.zarr", replace(SCHEMA, recipe={"x": [deep] * 20}), KEYS)
    assert not (tmp_path / "a.zarr").exists()


class TestZarrBackend(StoreContract):
    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return str(tmp_path / "labels.zarr")

    @pytest.fixture
    def damage(self, address: str) -> Callable[[str, int], None]:
        def flip(what: str, place: int) -> None:
            name, shard = what.split("/")
            path = next(
                path for path in (Path(address, name, "c", shard, *"0" * n) for n in range(4)) if path.is_file()
            )
            data = bytearray(path.read_bytes())
            data[place % len(data)] ^= 0x10
            path.write_bytes(data)

        return flip

    @pytest.fixture
    def age(self, address: str) -> Callable[[], None]:
        def reword() -> None:
            path = Path(address, "zarr.json")
            path.write_text(path.read_text().replace('"format": 1', '"format": 2'))

        return reword

    @pytest.fixture
    def forget(self, address: str) -> Callable[[int], None]:
        return lambda shard: Path(address, "shards/record/c", str(shard)).unlink()

    def test_every_array_names_its_dimensions(self, store: LabelStore, address: str) -> None:
        group = zarr.open_group(address, mode="r")
        names = {name: array.metadata.dimension_names for name, array in group.arrays()}
        assert names["classes"] == ("image", "y", "x", "rank")
        assert all(all(dimensions) for dimensions in names.values())
        assert set(names) == {"classes", "scores", "boxes", "sizes", "status", "targets", "keys"}

    def test_an_existing_object_without_a_record_proves_nothing(self, store: LabelStore, address: str) -> None:
        """A writer that was killed between two arrays: everything but the record lies there."""
        store.write(SHARDS[0], random_labels(np.random.default_rng(1), 4))
        Path(address, "shards/record/c/0").unlink()
        assert open_store(address).pending() == SHARDS

    def test_unfinished_files_of_killed_writers_are_removed_when_nobody_writes(
        self, store: LabelStore, address: str
    ) -> None:
        left = [
            Path(address, name)
            for name in ("status/c/0.00000000000012ab.partial", "shards/record/c/0.00000000000034cd.partial")
        ]
        others = Path(address, "status/c/1.00000000000056ef.partial")
        for path in (*left, others):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
        store.write(SHARDS[0], random_labels(np.random.default_rng(1), 4))
        assert all(path.exists() for path in (*left, others))  # one of them may be another writer's
        store.backend.remove_leftovers()
        assert not list(Path(address).rglob("*.partial"))
        assert store.pending() == SHARDS[1:]

    def test_a_store_half_created_is_created_again(self, store: LabelStore, address: str) -> None:
        group = zarr.open_group(address, mode="r+")
        group.update_attributes({"tokenlabel:creating": True})
        with pytest.raises(NotAStoreError, match="was not created completely"):
            open_store(address)
        assert find_store(address) is None
        assert create_store(address, SCHEMA, KEYS, list(range(10))).pending() == SHARDS

    def test_nothing_another_zarr_a_folder_and_a_file_are_told_apart(self, tmp_path: Path) -> None:
        with pytest.raises(NotAStoreError, match="there is no store at"):
            open_store(tmp_path / "nothing")
        zarr.create_group(tmp_path / "other.zarr", attributes={"mine": 1})
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "precious.txt").write_text("keep me")
        (tmp_path / "file").write_text("keep me")
        for name, words in (
            ("other.zarr", "is not a store of label maps: its zarr.json does not describe one"),
            ("folder", "is not empty and not a store of label maps"),
            ("file", "is a file, not a store of label maps"),
        ):
            with pytest.raises(NotAStoreError, match=words):
                create_store(tmp_path / name, SCHEMA, KEYS)
        assert (tmp_path / "folder" / "precious.txt").read_text() == "keep me"
        assert dict(zarr.open_group(tmp_path / "other.zarr", mode="r").attrs) == {"mine": 1}

    def test_an_address_that_cannot_be_written_is_a_store_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="cannot make the folder of .*file/labels.zarr.* Give an address below"):
            create_store(tmp_path / "file" / "labels.zarr", SCHEMA, KEYS)
        with pytest.raises(StoreError, match="cannot make the folder of /proc/labels.zarr"):
            create_store("/proc/labels.zarr", SCHEMA, KEYS)

    def test_a_write_that_fails_is_a_store_error_and_the_shard_stays_pending(
        self, store: LabelStore, address: str
    ) -> None:
        Path(address, "scores/c/0/0/0/0").mkdir(parents=True)  # where the object should go
        with pytest.raises(StoreError, match="cannot write rows 0 to 4 .* the same command continues here"):
            store.write(SHARDS[0], random_labels(np.random.default_rng(1), 4))
        assert store.pending() == SHARDS

    def test_keys_that_were_changed_are_damage(self, full: LabelStore, address: str) -> None:
        array = zarr.open_group(address, mode="r+")["keys"]
        keys = array[:]
        keys[3] = "another.jpg"
        array[:] = keys
        with pytest.raises(DamageError, match="their SHA-256 does not match"):
            len(open_store(address).keys)

    def test_a_record_that_was_changed_is_damage(self, full: LabelStore, address: str) -> None:
        path = Path(address, "shards/record/c/1")
        path.write_bytes(path.read_bytes().replace(b'"labelled"', b'"labeIled"'))
        report = verify(open_store(address)).shards[1]
        assert report.state == "damaged"
        assert "the commit record shards/record/c/1 of" in report.problems[0]

    def test_a_sound_object_that_is_not_the_one_recorded_is_damage(
        self, full: LabelStore, address: str, tmp_path: Path
    ) -> None:
        other = create_store(tmp_path / "other.zarr", SCHEMA, KEYS)
        other.write(SHARDS[1], random_labels(np.random.default_rng(9), 4))
        shutil.copy(tmp_path / "other.zarr/scores/c/1/0/0/0", Path(address, "scores/c/1/0/0/0"))
        report = verify(open_store(address)).shards[1]
        assert report.state == "damaged"
        assert "scores/c/1/0/0/0: its SHA-256 is" in report.problems[0]

    @pytest.mark.parametrize("name", ["classes", "scores", "boxes", "sizes", "status"])
    def test_an_object_that_is_gone_is_damage(self, full: LabelStore, address: str, name: str) -> None:
        (path,) = (path for path in Path(address, name, "c").rglob("*") if path.is_file() and "/c/1" in path.as_posix())
        path.unlink()
        assert [report.state for report in verify(open_store(address)).shards] == ["ok", "damaged", "ok"]

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("gs://bucket/labels.zarr", "cannot use an address with gs://"),
            ("s3://bucket", "give s3://bucket/name, with a name that has no part"),
            ("s3://bucket/labels.h5", "an HDF5 store is a local folder"),
            ("s3://bucket/a/../b", "give s3://bucket/name, with a name that has no part"),
            ("s3://me:secret@bucket/labels.zarr", "Credentials come from the environment"),
            ("s3://bucket/labels.zarr?key=secret", "Credentials come from the environment"),
        ],
    )
    def test_an_address_of_an_unknown_kind_is_refused_without_repeating_a_secret(
        self, address: str, words: str
    ) -> None:
        with pytest.raises(StoreError, match=words) as caught:
            open_store(address)
        assert "secret" not in str(caught.value)

    def test_a_record_of_other_bytes_is_damage_whatever_they_are(self, full: LabelStore, address: str) -> None:
        for body in (b"\1\0\0\0\2\0\0\0\xff\xfe", b"\1\0\0\0\2\0\0\0" + b"[" * 100_000):
            path = Path(address, "shards/record/c/1")
            path.write_bytes(body + google_crc32c.value(body).to_bytes(4, "little"))
            assert verify(open_store(address)).shards[1].state == "damaged"

    def test_a_sound_chunk_of_another_length_is_damage(self, full: LabelStore, address: str) -> None:
        path = Path(address, "classes/c/0/0/0/0")
        other = shard_object(
            Layout("classes", ("y",), (5, 5, 3), np.dtype(np.uint16), 0), full.read([0]).classes[:, 1:], 4
        )
        path.write_bytes(other)
        record = Path(address, "shards/record/c/0")
        values = json.loads(record.read_bytes()[8:-4])
        values["objects"]["classes/c/0/0/0/0"] = hashlib.sha256(other).hexdigest()
        record.write_bytes(string_object(json.dumps(values)))
        for read in (lambda: open_store(address)[0], lambda: open_store(address).read([0])):
            with pytest.raises(DamageError, match="its chunk has 150 bytes, not 180"):
                read()
