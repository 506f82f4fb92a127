"""Which files of shards are open, and who may read from them?"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from storage import (
    LabelMap,
    LabelStore,
    StoreError,
    open_store,
)
from storage.hdf5_backend import shards as hdf5_shards
from tests.storage.contract.samples import SHARDS
from tests.storage.hdf5_backend.fixtures import Hdf5Fixtures


class TestShardFiles(Hdf5Fixtures):
    def test_a_shard_that_was_written_again_or_forgotten_is_opened_again(
        self, full: LabelStore, labels: LabelMap, address: str
    ) -> None:
        full.read([0])
        full.write(SHARDS[0], labels[4:8])
        assert (full.read([0]).sizes == labels[[4]].sizes).all()
        full.backend.forget(0)
        with pytest.raises(StoreError, match="rows 0 to 4 .* have no labels yet"):
            full.read([0])
        open_store(address, writable=True).write(SHARDS[0], labels[0:4])
        assert (full.read([0]).sizes == labels[[0]].sizes).all()
        other = Path(address, "shards/000000.h5").read_bytes()
        full.write(SHARDS[0], labels[4:8])
        full.read([0])
        full.backend.write_object("shards/000000.h5", other)
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
        full.write(SHARDS[0], labels[4:8])  # an open file does not show this
        assert (reader.read([0]).sizes == labels[[0]].sizes).all()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert (reader.read([0]).sizes == labels[[4]].sizes).all()

    def test_a_child_that_drops_files_does_not_disturb_its_parent(self, full: LabelStore) -> None:
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


def _open_files(address: str) -> int:
    places = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return sum(str(place.readlink()).startswith(address) for place in places if place.is_symlink())


def _read_all(store: LabelStore) -> np.ndarray:
    return store.read(range(10)).classes
