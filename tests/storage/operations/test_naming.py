"""Do the classes of a store get other names, while all else stays what it was?"""

from __future__ import annotations

import json

import numpy as np
import pytest

from storage import DamageError, LabelStore, Publication, StoreError, finalize, name_classes, open_store, verify
from storage.operations import naming
from storage.operations.publication import CROISSANT
from tests.storage.contract.samples import KEYS, SCHEMA

ABOUT = Publication(name="tests", source="the tests", licence="CC0-1.0")


def named(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix} {n}" for n in range(SCHEMA.class_count))


def test_names_change_and_labels_keys_and_recipe_do_not(full: LabelStore) -> None:
    before = full.read(range(10))
    for names in (named("a"), named("a much longer name \N{PANDA FACE}"), None):
        name_classes(open_store(full.address, writable=True), names)
        found = open_store(full.address)
        assert found.schema.class_names == names
        assert list(found.keys) == list(KEYS)
        assert found.find(KEYS[3]) == 3
        assert found.schema.recipe == full.schema.recipe
        assert found.header.keys_sha256 == full.header.keys_sha256
        assert np.array_equal(found.read(range(10)).scores, before.scores)
        assert np.array_equal(found.read(range(10)).classes, before.classes)
        assert found.targets.tolist() == full.targets.tolist()
        assert verify(found, deep=True).state == "ok"


def test_the_store_that_was_given_has_the_names_at_once(full: LabelStore) -> None:
    name_classes(full, named("a"))
    assert full.schema.class_names == full.header.schema.class_names == named("a")
    assert full.find(KEYS[0]) == 0


def test_a_finalized_store_stays_one(full: LabelStore) -> None:
    finalize(full, ABOUT)
    name_classes(full, named("a"))
    found = verify(open_store(full.address), deep=True)
    assert (found.state, found.shared) == ("ok", ())
    described = json.loads(full.backend.read_object(CROISSANT) or b"")
    shared = next(entry for entry in described["distribution"] if entry["name"] in ("zarr.json", "store.h5"))
    assert shared["sha256"] == naming.sha256_of(full, shared["name"])
    if full.address.endswith(".zarr"):  # still consolidated: one request opens it
        assert "consolidated_metadata" in json.loads(full.backend.read_object("zarr.json") or b"")


def test_damage_elsewhere_is_not_covered_up_by_a_new_manifest(full: LabelStore) -> None:
    finalize(full, ABOUT)
    full.backend.write_object("README.md", b"tampered")
    name_classes(full, named("a"))
    assert [problem.split()[0] for problem in verify(full).shared] == ["README.md"]


def test_what_an_interruption_leaves_is_named_and_completed_by_naming_again(
    full: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    finalize(full, ABOUT)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(naming, "update_manifest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            name_classes(full, named("a"))
    again = open_store(full.address, writable=True)
    assert again.schema.class_names == named("a")
    assert any("is not what MANIFEST.sha256 says" in problem for problem in verify(again).shared)
    name_classes(again, named("a"))
    assert verify(again).state == "ok"


def test_names_that_do_not_fit_and_stores_for_reading_are_refused(full: LabelStore) -> None:
    with pytest.raises(StoreError, match="cannot name the classes of .*2 class names were given for"):
        name_classes(full, ["one", "two"])
    with pytest.raises(StoreError, match="was opened for reading"):
        name_classes(open_store(full.address), named("a"))
    assert open_store(full.address).schema.class_names == SCHEMA.class_names


def test_a_damaged_store_is_not_sealed_again(full: LabelStore) -> None:
    if full.address.endswith(".zarr"):
        full.backend.write_object("classes/zarr.json", b"{}")
    else:
        data = full.backend.read_object("store.h5") or b""
        full.backend.write_object("store.h5", data[:-64] + b"0" * 64)
    with pytest.raises(DamageError, match="cannot name the classes of .*; `annotate verify --repair` writes it again"):
        name_classes(open_store(full.address, writable=True), named("a"))
