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
    full.backend.write_object("new.txt", b"three")
    assert list(differences(full)) == [
        f"more.txt is in {MANIFEST}, but not there",
        f"new.txt is not in {MANIFEST}; `annotate finalize` writes it again",
        f"notes.txt is not what {MANIFEST} says; `annotate finalize` writes it again, if the change was meant",
    ]
