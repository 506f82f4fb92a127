"""Do files of others that lie in a store's folder, as in one that comes from a hub, count as damage?"""

from __future__ import annotations

from pathlib import Path

from storage import LabelStore, Publication, finalize, open_store, verify
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
