"""Can a process read from thousands of shards? More than it may have files open."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
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


def test_what_is_read_from_a_mapping_keeps_it_though_its_object_is_dropped(tmp_path: Path) -> None:
    """As when a thread lets a shard go that another reads: the bytes stay, and are unmapped with the last reader."""
    path = tmp_path / "mapped-by-the-test"
    path.write_bytes(bytes(range(64)))
    mapping = MemoryMap(path)
    array, part = np.ndarray((8, 2), np.uint32, mapping.data), mapping.data[-16:].cast("Q")
    assert mapping.data.readonly
    del mapping
    gc.collect()
    assert path.name in Path("/proc/self/maps").read_text()
    assert array[1].tolist() == [0x0B0A0908, 0x0F0E0D0C]
    del array
    assert part[1] == 0x3F3E3D3C3B3A3938
    del part
    gc.collect()
    assert path.name not in Path("/proc/self/maps").read_text()


READING_BESIDE_RELEASE = """
import sys, threading, time
from storage import open_store

sys.setswitchinterval(1e-7)  # so that a thread loses its turn between any two steps
store, end = open_store(sys.argv[1]), time.monotonic() + 3

def read():
    while time.monotonic() < end:
        for shard in range(store.shard_count):
            assert (store.backend.fetch_rows("sizes", shard) == 9).all()

def release():
    while time.monotonic() < end:
        for shard in range(store.shard_count):
            store.backend.release(shard)

threads = [threading.Thread(target=each) for each in (read, read, release, release, release)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_reading_in_threads_beside_release_reaches_no_closed_mapping(tmp_path: Path) -> None:
    store = create_store(
        tmp_path / "s.zarr", Schema(grid=(1, 1), k=1, class_count=70, rows_per_shard=1), [f"{n}" for n in range(3)]
    )
    for row in range(3):
        store.write(range(row, row + 1), one_label(row))
    command = [sys.executable, "-c", READING_BESIDE_RELEASE, store.address]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_bytes(b"")])
def test_a_file_that_is_gone_or_empty_is_an_os_error(tmp_path: Path, make) -> None:
    make(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        MemoryMap(tmp_path / "file")
