"""Is every key found, and nothing else?"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import DamageError, KeyNotFoundError, Schema, StoreError, create_store, open_store
from storage.keys import key_index
from storage.keys.key_index import EMPTY, Blocks, KeyIndex

names = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1), unique=True, max_size=60)


def index_of(keys: list[str]) -> KeyIndex:
    salt, digests, slots = key_index.build(keys)
    return KeyIndex(Blocks.of(digests, "Q"), Blocks.of(slots, "I"), rows=len(keys), salt=salt)


@settings(deadline=None)
@given(keys=names, others=names)
def test_every_key_has_its_row_and_no_other_has_any(keys: list[str], others: list[str]) -> None:
    index = index_of(keys)
    assert [index.find(key) for key in keys] == list(range(len(keys)))
    assert all(index.find(key) is None for key in set(others) - set(keys))


def test_slots_that_run_over_the_end_continue_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests that all belong to the last slot: after it comes the first."""
    monkeypatch.setattr(key_index, "_blake2b", lambda salt: lambda key: (2**64 - 1 - int(key)).to_bytes(8, "little"))
    keys = [str(n) for n in range(7)]
    _, _, slots = key_index.build(keys)
    assert (slots != EMPTY).sum() == 7
    assert slots[-1] != EMPTY
    assert slots[0] != EMPTY
    assert [index_of(keys).find(key) for key in keys] == list(range(7))


@pytest.mark.parametrize("count", [1, 30, 3000])
def test_the_table_is_filled_in_the_order_of_the_digests_each_from_its_home_on(count: int) -> None:
    _, digests, slots = key_index.build([f"{n}.jpg" for n in range(count)])
    expected = [EMPTY] * (2 * count)
    for row in np.argsort(digests).tolist():
        slot = (int(digests[row]) >> 32) * len(expected) >> 32
        while expected[slot] != EMPTY:
            slot = (slot + 1) % len(expected)
        expected[slot] = row
    assert slots.tolist() == expected


def test_a_key_that_comes_twice_is_refused_whatever_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    original = key_index._blake2b
    monkeypatch.setattr(key_index, "_blake2b", lambda salt: original(salt) if salt else lambda key: b"\7" * 8)
    with pytest.raises(StoreError, match="row 2 has the key 'b' again"):
        key_index.build(["a", "b", "b"])


def test_two_keys_with_one_digest_are_told_apart_by_another_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    original = key_index._blake2b
    monkeypatch.setattr(key_index, "_blake2b", lambda salt: original(salt) if salt else lambda key: b"\7" * 8)
    salt, _, _ = key_index.build(["a", "b"])
    assert salt == 1
    assert [index_of(["a", "b"]).find(key) for key in "ab"] == [0, 1]


def test_no_damage_of_the_index_gives_a_key_the_row_of_another(tmp_path: Path) -> None:
    keys = [f"{n}.jpg" for n in range(40)]
    schema = Schema(grid=(1, 1), k=1, class_count=3, rows_per_shard=8)
    create_store(tmp_path / "s.zarr", schema, keys)
    rng = np.random.default_rng(0)
    for name in ("digests", "slots"):
        path = tmp_path / "s.zarr/key_index" / name / "c/0"
        sound = path.read_bytes()
        for _ in range(60):
            flipped = bytearray(sound)
            flipped[rng.integers(len(sound))] ^= 1 << rng.integers(8)
            path.write_bytes(flipped)
            store = open_store(tmp_path / "s.zarr")
            for row, key in enumerate(keys):
                with suppress(KeyNotFoundError):
                    assert store.find(key) == row
            path.write_bytes(sound)
        path.write_bytes(sound[:-1])
        with pytest.raises(DamageError, match=r"the key index .* has \d+ bytes, not \d+"):
            open_store(tmp_path / "s.zarr").find("0.jpg")
        path.write_bytes(sound)
