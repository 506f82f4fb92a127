"""Do files of others that lie in a store's folder, as in one that comes from a hub, count as damage?"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from storage import (
    LabelMap,
    LabelStore,
    NotAStoreError,
    Publication,
    create_store,
    finalize,
    find_store,
    open_store,
    verify,
)
from tests.storage.contract.samples import KEYS, SCHEMA
from tests.storage.hostile.folders import shard_file

PUBLICATION = Publication(name="tests", source="the tests", licence="CC0-1.0")


def _leave_what_hubs_leave(address: Path) -> None:
    (address / ".gitattributes").write_text("*.h5 filter=lfs")
    cache = address / ".cache/huggingface/download" / f"{shard_file(address, 0).relative_to(address)}.metadata"
    cache.parent.mkdir(parents=True)
    cache.write_text("0123")
    (address / ".cache/huggingface/.gitignore").write_text("*")
    (address / "LICENSE").write_text("CC0")


def test_what_a_hub_leaves_beside_the_files_of_a_published_store_is_no_damage(full: LabelStore, address: Path) -> None:
    finalize(full, PUBLICATION)
    _leave_what_hubs_leave(address)
    assert verify(open_store(address), deep=True).state == "ok"


def test_what_a_hub_leaves_is_not_published_with_the_store(full: LabelStore, address: Path) -> None:
    _leave_what_hubs_leave(address)
    finalize(full, PUBLICATION)
    (address / ".gitattributes").write_text("changed by the next push")
    assert verify(open_store(address)).state == "ok"
    assert ".gitattributes" not in (address / "MANIFEST.sha256").read_text() + (address / "croissant.json").read_text()


def test_an_own_file_that_the_manifest_does_not_name_is_still_a_problem(full: LabelStore, address: Path) -> None:
    finalize(full, PUBLICATION)
    manifest = address / "MANIFEST.sha256"
    lost = shard_file(address, 1).relative_to(address).as_posix()
    manifest.write_text("".join(line for line in manifest.read_text().splitlines(keepends=True) if lost not in line))
    assert verify(open_store(address)).shared == (
        f"{lost} is not listed in MANIFEST.sha256; `annotate finalize` writes the manifest again",
    )


def test_unfinished_files_of_killed_writers_are_neither_damage_nor_published(full: LabelStore, address: Path) -> None:
    shard_file(address, 1).with_name("0.0123456789abcdef.partial").write_bytes(b"half of it")
    assert not [name for name in full.backend.object_names() if name.endswith(".partial")]
    finalize(open_store(address, writable=True), PUBLICATION)
    assert ".partial" not in (address / "MANIFEST.sha256").read_text()
    assert verify(open_store(address), deep=True).state == "ok"


OF_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini", "lost+found/#1234", "@eaDir/SYNO@.attr", "notes (copy).txt")


def _leave_everywhere(address: Path) -> None:
    for folder in [address, *(path for path in address.rglob("*") if path.is_dir())]:
        for name in OF_SYSTEMS:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("x")


def test_names_that_no_object_has_are_no_damage_wherever_they_lie(
    full: LabelStore, address: Path, labels: LabelMap
) -> None:
    finalize(full, PUBLICATION)
    _leave_everywhere(address)
    assert verify(open_store(address), deep=True).describe().startswith("3 shards: 3 ok")
    assert (open_store(address).read(range(10)).sizes == labels.sizes).all()
    assert open_store(address).pending() == []


def test_what_systems_leave_is_not_published_and_may_go_again(full: LabelStore, address: Path) -> None:
    _leave_everywhere(address)
    finalize(full, PUBLICATION)
    manifest = (address / "MANIFEST.sha256").read_text()
    for name in OF_SYSTEMS[:-1]:
        assert name not in manifest + (address / "croissant.json").read_text()
    (address / "Thumbs.db").unlink()
    assert verify(open_store(address)).state == "ok"


def test_an_object_that_the_store_could_have_and_has_not_is_still_a_problem(full: LabelStore, address: Path) -> None:
    finalize(full, PUBLICATION)
    stray = shard_file(address, 7)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"?")
    (found,) = verify(open_store(address)).shared
    assert found.startswith(f"{stray.relative_to(address).as_posix()} is not listed in MANIFEST.sha256")


def test_a_folder_of_the_system_that_may_not_be_listed_is_left_alone(
    full: LabelStore, address: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ext4's, at the root of a disk, belongs to root."""
    (address / "lost+found").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("lost+found"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    finalize(full, PUBLICATION)
    assert verify(open_store(address)).state == "ok"


def test_a_store_is_made_at_the_root_of_a_new_disk_but_not_beside_files(address: Path) -> None:
    (address / "lost+found").mkdir(parents=True)
    assert find_store(address) is None
    assert len(create_store(address, SCHEMA, KEYS)) == 10
    other = address.with_name(f"other{address.suffix}")
    (other / ".git").mkdir(parents=True)
    with pytest.raises(NotAStoreError, match="is not empty"):
        create_store(other, SCHEMA, KEYS)
