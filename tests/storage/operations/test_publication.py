"""Which store may be published?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage import LabelStore, Publication, StoreError, finalize, open_store
from storage.operations.manifest import MANIFEST
from tests.storage.operations.conftest import damage

ABOUT = Publication(name="a", source="b", licence="c")


def test_a_damaged_store_is_not_finalized(full: LabelStore) -> None:
    damage(full, 1)
    with pytest.raises(StoreError, match="1 shards are damaged"):
        finalize(open_store(full.address, writable=True), ABOUT)
    assert full.backend.read_object(MANIFEST) is None


@pytest.mark.parametrize("name", [b"\xff.txt", b"a\nb.txt", b"shards/\xfe"])
def test_a_file_whose_name_no_manifest_can_hold_is_named_before_anything_is_written(
    full: LabelStore, name: bytes
) -> None:
    Path(full.address, os.fsdecode(name)).write_text("x")
    before = list(full.backend.object_names())
    with pytest.raises(StoreError, match="cannot finalize .*: rename or remove ") as caught:
        finalize(full, ABOUT)
    assert repr(os.fsdecode(name)) in str(caught.value)
    assert str(caught.value).isprintable()
    assert list(full.backend.object_names()) == before


def test_a_finalized_store_has_a_card_and_a_description_in_its_manifest(full: LabelStore) -> None:
    count = finalize(full, ABOUT)
    manifest = full.backend.read_object(MANIFEST)
    assert manifest is not None
    names = {line.split("  ")[1] for line in manifest.decode().splitlines()}
    assert len(names) == count
    assert {"README.md", "croissant.json"} <= names
