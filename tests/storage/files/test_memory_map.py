"""Can a process read from thousands of shards? More than it may have files open."""

from __future__ import annotations

import gc
import resource
from pathlib import Path

import numpy as np
import pytest

from storage import LabelMap, Schema, Status, create_store, open_store
from storage.files.memory_map import MemoryMap


def test_a_store_with_more_objects_than_open_files_are_allowed_is_read(tmp_path: Path) -> None:
    keys = [f"{n}.jpg" for n in range(60)]
    store = create_store(tmp_path / "s.zarr", Schema(grid=(1, 1), k=1, class_count=70, rows_per_shard=1), keys)
    for row in range(60):
        store.write(range(row, row + 1), one_label(row))
    reader = open_store(tmp_path / "s.zarr")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 8, hard))
    try:
        assert reader.read(range(60)).classes.ravel().tolist() == list(range(60))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def one_label(class_id: int) -> LabelMap:
    return LabelMap(
        classes=np.array([[[[class_id]]]], np.uint16),
        scores=np.ones((1, 1, 1, 1), np.float32),
        boxes=np.array([[0, 0, 1, 1]], np.float32),
        sizes=np.array([[9, 9]], np.uint32),
        status=np.array([Status.LABELLED], np.uint8),
    )


def test_a_mapping_ends_with_its_object(tmp_path: Path) -> None:
    path = tmp_path / "mapped-by-the-test"
    path.write_bytes(b"hello")
    mapping = MemoryMap(path)
    assert bytes(mapping.data) == b"hello"
    assert path.name in Path("/proc/self/maps").read_text()
    del mapping
    gc.collect()
    assert path.name not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_bytes(b"")])
def test_a_file_that_is_gone_or_empty_is_an_os_error(tmp_path: Path, make) -> None:
    make(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        MemoryMap(tmp_path / "file")
