"""Does a process that reads several large stores stay below the kernel's limit of mappings?"""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from storage import LabelMap, Schema, create_store, open_store
from storage.files import memory_map, open_shards
from tests.labels import random_labels
from tests.storage.mounts.kept import are_kept

SCHEMA = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=1)
ROWS = 30


@pytest.fixture
def labels() -> LabelMap:
    return random_labels(np.random.default_rng(0), ROWS)


@pytest.fixture
def addresses(tmp_path: Path, labels: LabelMap) -> list[Path]:
    found = [tmp_path / "one.zarr", tmp_path / "two.zarr"]
    for address in found:
        store = create_store(address, SCHEMA, [f"{row}" for row in range(ROWS)])
        for rows in store.shards():
            store.write(rows, labels[rows.start : rows.stop])
    return found


def _mappings(folder: Path) -> int:
    return Path("/proc/self/maps").read_text().count(f"{folder}/")


def test_all_stores_of_a_process_share_one_limit_of_mappings(
    addresses: list[Path], labels: LabelMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_shards, "_MOST", 12)
    stores = [open_store(address) for address in addresses]
    for row in range(ROWS):
        for store in stores:
            assert are_kept(store[row], labels[row])
            assert _mappings(tmp_path) <= 12 * 5
    assert _mappings(tmp_path) == 12 * 5
    assert are_kept(stores[0].read(range(ROWS)), labels)
    assert _mappings(tmp_path) == 12 * 5
    del stores, store
    gc.collect()
    assert _mappings(tmp_path) == 0


def test_where_files_cannot_be_mapped_as_many_bytes_are_kept_as_the_limit_says(
    addresses: list[Path], labels: LabelMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that maps nothing, by an answer of the kernel that no mount here gives."""

    def refuse(file: object, path: Path) -> None:
        raise OSError(memory_map.errno.ENODEV, "No such device", str(path))

    each = sum(path.stat().st_size for path in addresses[0].glob("*/c/0/**/*") if path.is_file()) + sum(
        path.stat().st_size for path in addresses[0].glob("*/c/0") if path.is_file()
    )
    monkeypatch.setattr(memory_map, "_Pages", refuse)
    monkeypatch.setattr(open_shards, "_MOST_COPIED", 4 * each)
    stores = [open_store(address) for address in addresses]
    for store in stores:
        assert are_kept(store.read(range(ROWS)), labels)
    assert 1 <= sum(len(store.backend._reader._open) for store in stores) <= 5
    assert _mappings(tmp_path) == 0
