"""Is a part of a file that the disk fails to read an error, and not the death of the process that maps it?

A mapping of such a part is a SIGBUS. So each process that is killed here would be a failure, and reads in a process of
its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from storage import LabelStore, Schema, create_store
from tests import fuse
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS

pytestmark = pytest.mark.skipif(fuse.why_not() is not None, reason=str(fuse.why_not()))
ALL = 2**30  # bytes: more than a file has here

READING = """
import sys
from storage import UnreadableError, open_store

store = open_store(sys.argv[1])
use = {"read": lambda: store.read([5]), "one": lambda: store[5], "column": lambda: store.column("status"),
       "find": lambda: store.find("0.jpg")}[sys.argv[2]]
try:
    use()
except UnreadableError as error:
    print(error)
"""


def _full(path: Path) -> LabelStore:
    store = create_store(path, SCHEMA, KEYS)
    for rows in SHARDS:
        store.write(rows, random_labels(np.random.default_rng(0), len(rows)))
    return store


def _read(address: Path, use: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", READING, str(address), use]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("classes/c/1/0/0/0", "read"),
        ("scores/c/1/0/0/0", "one"),
        ("boxes/c/1/0", "read"),
        ("status/c/1", "column"),
    ],
)
def test_an_object_that_the_disk_fails_to_read_is_named_and_unreadable(tmp_path: Path, name: str, use: str) -> None:
    _full(tmp_path / "behind/labels.zarr")
    with fuse.mount(tmp_path, broken=(f"labels.zarr/{name}", 0, ALL)) as at:
        found = _read(at / "labels.zarr", use)
    assert (found.returncode, found.stderr) == (0, "")
    assert f"the shard {at}/labels.zarr/{name} cannot be read: [Errno 5] Input/output error" in found.stdout


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
def test_a_key_index_of_which_the_disk_fails_to_read_a_part_is_unreadable(tmp_path: Path, suffix: str) -> None:
    behind = tmp_path / "behind"
    keys = [f"{row}.jpg" for row in range(40_000)]
    schema = Schema(grid=(1, 1), k=1, class_count=70, rows_per_shard=40_000)
    create_store(behind / f"labels.{suffix}", schema, keys)
    name, start = "key_index/slots/c/0", 0
    if suffix == "h5":
        name = "store.h5"
        with h5py.File(behind / "labels.h5" / name) as file:
            start = file["key_index/slots"].id.get_offset()
    # Two pages of the middle, which no other array touches.
    broken = f"labels.{suffix}/{name}", start + 160_000, start + 168_000
    with fuse.mount(tmp_path, broken=broken) as at:
        found = _read(at / f"labels.{suffix}", "find")
    assert (found.returncode, found.stderr) == (0, "")
    assert f"[Errno 5] Input/output error: '{at}/labels.{suffix}/{name}'" in found.stdout
