"""Does a manifest tell every object that is not as it was published?"""

from __future__ import annotations

from storage import LabelStore
from storage.operations.manifest import MANIFEST, differences, write_manifest


def test_a_store_without_a_manifest_differs_from_nothing(full: LabelStore) -> None:
    assert list(differences(full)) == []


def test_what_was_added_changed_or_removed_is_named(full: LabelStore) -> None:
    full.backend.write_object("notes.txt", b"one")
    full.backend.write_object("more.txt", b"two")
    assert write_manifest(full) == len([*full.backend.object_names()]) - 1
    assert list(differences(full)) == []
    full.backend.write_object("notes.txt", b"other")
    full.backend.delete_object("more.txt")
    stray = full.backend.shard_objects(7)[0]
    full.backend.write_object(stray, b"three")
    full.backend.write_object("README.md", b"of a hub: not an object of the store")
    assert list(differences(full)) == [
        f"{stray} is not listed in {MANIFEST}; `annotate finalize` writes the manifest again",
        f"more.txt is listed in {MANIFEST}, but missing in the store",
        f"notes.txt is not what {MANIFEST} says; after an intended change, `annotate finalize` writes it again",
    ]
