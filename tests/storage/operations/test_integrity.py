"""What does a verification say of a store, and what does a repair leave? Every kind of damage is the contract's."""

from __future__ import annotations

import pytest

from storage import DamageError, LabelStore, Progress, open_store, repair, verify
from tests.storage.operations.conftest import damage


def test_damage_is_told_by_shard_in_words_and_in_json(full: LabelStore) -> None:
    damage(full, 1)
    told: list[Progress] = []
    found = verify(open_store(full.address), on_progress=told.append)
    assert found.state == "damaged"
    assert [shard["state"] for shard in found.to_json()["shards"]] == ["ok", "damaged", "ok"]
    assert "rows 4 to 8 are damaged:" in found.describe()
    assert [each.done for each in told] == [0, 4, 8, 10]


def test_a_repair_leaves_what_nothing_else_says_and_names_it(full: LabelStore) -> None:
    """Keys follow from nothing; a shard can be labelled again."""
    damage(full, 1)
    lost = next(name for name in full.backend.object_names() if name.startswith(("keys/", "store.")))
    full.backend.write_object(lost, b"x")
    found = verify(full)
    if lost == "store.h5":  # the header, too: without it, nothing says what the labels are
        with pytest.raises(DamageError, match="the header of the store .* is damaged"):
            repair(full, found)
        return
    left = repair(full, found)
    assert len(left) >= 1
    assert full.pending() == [range(4, 8)]
