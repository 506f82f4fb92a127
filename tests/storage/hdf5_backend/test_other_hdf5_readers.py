"""What do other HDF5 readers find in a store?"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from storage import (
    LabelMap,
    LabelStore,
    copy,
    create_store,
    open_store,
    verify,
)
from storage.encoding import scores
from storage.operations.manifest import write_manifest
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tests.storage.hdf5_backend.fixtures import ARRAYS, NOT_WRITTEN, Hdf5Fixtures


class TestOtherReaders(Hdf5Fixtures):
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

    def test_locks_of_others_do_not_matter(self, full: LabelStore, address: str) -> None:
        with ExitStack() as locked:
            for name in full.backend.object_names():
                fcntl.flock(locked.enter_context(Path(address, name).open("rb")), fcntl.LOCK_EX)
            opened = open_store(address)
            assert opened.find(KEYS[5]) == 5
            assert len(opened.read([0, 9])) == 2
            assert verify(opened).state == "ok"

    def test_files_that_this_process_reads_otherwise_are_read(self, full: LabelStore, address: str) -> None:
        with h5py.File(Path(address, "store.h5")) as file:
            classes = file["classes"][:]
            assert (open_store(address).read(range(10)).classes == classes).all()

    def test_logits_and_many_classes_are_stored_bit_for_bit_and_move_to_zarr_and_back(
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
        assert third.backend.checksums(0) == first.backend.checksums(0)
        assert verify(third, deep=True).shared == ()

    def test_its_manifest_is_one_that_sha256sum_checks(self, full: LabelStore, address: str) -> None:
        Path(address, "shards/000000.h5.00000000000012ab.partial").write_bytes(b"half")
        assert write_manifest(full) == 4
        command = ["sha256sum", "-c", "--quiet", "MANIFEST.sha256"]
        assert subprocess.run(command, cwd=address, check=False).returncode == 0
        assert verify(open_store(address)).state == "ok"
        Path(address, "store.h5").write_bytes(Path(address, "store.h5").read_bytes() + b"\0")
        assert verify(open_store(address)).shared == (
            NOT_WRITTEN,
            "store.h5 is not what MANIFEST.sha256 says; after an intended change, `annotate finalize` writes it again",
        )
