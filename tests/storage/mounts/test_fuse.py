"""Is a store made, written and read on mounts that lack what local disks have?"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from storage import MismatchError, StoreError, create_store, open_store, verify
from storage.files.memory_map import MemoryMap
from tests import fuse
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tests.storage.mounts.kept import are_kept

pytestmark = pytest.mark.skipif(fuse.why_not() is not None, reason=str(fuse.why_not()))
SUFFIXES = pytest.mark.parametrize("suffix", ["zarr", "h5"])


@pytest.fixture
def no_links(tmp_path: Path) -> Iterator[Path]:
    with fuse.mount(tmp_path, lacks="links") as at:
        (at / "file").touch()
        with pytest.raises(OSError, match="not (implemented|permitted)"):
            os.link(at / "file", at / "link")
        (at / "file").unlink()
        yield at


@pytest.fixture
def no_shared_mappings(tmp_path: Path) -> Iterator[Path]:
    with fuse.mount(tmp_path, lacks="shared mappings") as at:
        (at / "file").write_bytes(b"data")
        with (at / "file").open("rb") as file, pytest.raises(OSError, match="No such device"):
            mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        (at / "file").unlink()
        yield at


def _is_kept(address: Path) -> None:
    labels = random_labels(np.random.default_rng(0), 10)
    store = create_store(address, SCHEMA, KEYS, list(range(10)))
    for rows in SHARDS:
        store.write(rows, labels[rows.start : rows.stop])
    reader = open_store(address)
    assert verify(reader, deep=True).state == "ok"
    assert are_kept(reader.read(range(10)), labels)
    assert are_kept(reader[7], labels[7])
    assert reader.find(KEYS[3]) == 3


@SUFFIXES
def test_without_hard_links_a_store_is_made_written_and_read(no_links: Path, suffix: str) -> None:
    _is_kept(no_links / f"labels.{suffix}")
    assert not list(no_links.rglob("*.partial"))
    with pytest.raises(MismatchError):
        create_store(no_links / f"labels.{suffix}", SCHEMA, KEYS[:-1])


@SUFFIXES
def test_without_shared_mappings_a_store_is_made_written_and_read(no_shared_mappings: Path, suffix: str) -> None:
    _is_kept(no_shared_mappings / f"labels.{suffix}")


def test_without_shared_mappings_files_are_mapped_privately_and_not_read_whole(no_shared_mappings: Path) -> None:
    (no_shared_mappings / "file").write_bytes(b"data")
    mapping = MemoryMap(no_shared_mappings / "file")
    assert (bytes(mapping.data), mapping.copied) == (b"data", 0)


CREATING = """
import sys
from storage import StoreError, create_store
from tests.storage.contract.samples import KEYS, SCHEMA

keys = [f"{sys.argv[2]}/{key}" for key in KEYS]
sys.stdin.readline()
try:
    create_store(sys.argv[1], SCHEMA, keys)
except StoreError:
    sys.exit(7)
"""


@SUFFIXES
def test_without_hard_links_one_of_several_creators_is_the_first(no_links: Path, suffix: str) -> None:
    address = no_links / f"labels.{suffix}"
    commands = [[sys.executable, "-c", CREATING, str(address), str(n)] for n in range(4)]
    creators = [subprocess.Popen(command, stdin=subprocess.PIPE) for command in commands]
    for creator in creators:
        assert creator.stdin is not None
        creator.stdin.close()  # which lets it begin
    codes = [creator.wait(timeout=120) for creator in creators]
    assert sorted(codes) == [0, 7, 7, 7]
    assert open_store(address).find(f"{codes.index(0)}/{KEYS[3]}") == 3


@SUFFIXES
def test_a_claim_that_a_killed_creator_left_is_named(
    no_links: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.files.atomic_file._CLAIMED", 0.1)
    folder = no_links / f"labels.{suffix}"
    claim = folder / {"zarr": "zarr.json.claim.partial", "h5": "store.h5.claim.partial"}[suffix]
    folder.mkdir()
    claim.touch()
    with pytest.raises(StoreError, match=rf"claimed.*remove the claim.*{claim.name}"):
        create_store(folder, SCHEMA, KEYS)
    claim.unlink()
    _is_kept(folder)
