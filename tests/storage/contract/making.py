"""Is a store made of these keys, and of no others?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage import (
    FormatError,
    LabelStore,
    MismatchError,
    StoreError,
    create_store,
    find_store,
    open_store,
)
from storage.keys.key import KEYS_AT_ONCE
from tests.storage.contract.fixtures import StoreFixtures
from tests.storage.contract.made_keys import MadeKeys
from tests.storage.contract.samples import KEYS, SCHEMA


class Making(StoreFixtures):
    """A store is made once, and never becomes another."""

    def test_creating_an_equal_store_opens_it(self, full: LabelStore, address: str) -> None:
        again = create_store(address, replace(SCHEMA, provenance={"torch": "9"}), KEYS)
        assert again.pending() == []
        assert (found := find_store(address)) is not None
        assert found.schema == SCHEMA

    def test_creating_another_store_over_it_names_every_difference(self, full: LabelStore, address: str) -> None:
        other = replace(SCHEMA, k=2, grid=(3, 5), recipe={"model": "vgg", "input_size": [96, 80]})
        with pytest.raises(MismatchError) as caught:
            create_store(address, other, [*KEYS[:-1], "other.jpg"])
        assert caught.value.differences == (
            "grid: the store has [6, 5], this run has [3, 5]",
            "k: the store has 3, this run has 2",
            'recipe.model: the store has "resnet50", this run has "vgg"',
            "keys: in row 9 the store has 'class 0/é 9.v1.jpg', this run has 'other.jpg'",
        )

    @pytest.mark.parametrize(
        "key", ["", "/a.jpg", "a//b.jpg", "../a.jpg", "a/../b.jpg", "./a.jpg", "a\0b", "a\udc80.jpg"]
    )
    def test_keys_that_name_nothing_below_a_root_are_refused(self, address: str, key: str) -> None:
        with pytest.raises(StoreError, match="row 1 has the key"):
            create_store(address, SCHEMA, ["fine..jpg", key])

    def test_a_header_that_could_not_be_read_again_is_refused_before_anything_is_written(self, address: str) -> None:
        deep: list[Any] = []
        for _ in range(120):
            deep = [deep]
        with pytest.raises(StoreError, match=r"cannot write the header of .*levels of objects and lists.* leave out"):
            create_store(address, replace(SCHEMA, recipe={"x": deep}), KEYS)
        assert not Path(address).exists()

    def test_brackets_in_the_names_of_classes_are_no_lists(self, address: str) -> None:
        names = tuple("[" * 110 + f'"\\{number}' for number in range(10_000))
        create_store(address, replace(SCHEMA, class_count=10_000, class_names=names), KEYS)
        assert open_store(address).schema.class_names == names

    def test_a_recipe_is_kept_as_json_has_it(self, address: str) -> None:
        store = create_store(address, replace(SCHEMA, recipe={"size": (224, 224)}), KEYS)
        assert store.schema.recipe == {"size": [224, 224]}

    @pytest.mark.parametrize("key", ["x" * 4097, "é" * 2049, "d" * 420_000 + "/x"], ids=["ascii", "accents", "huge"])
    def test_a_key_that_is_longer_than_is_read_is_refused(self, address: str, key: str) -> None:
        with pytest.raises(StoreError, match=r"row 1 has the key '.*… .*bytes; a key may have 4,096") as caught:
            create_store(address, SCHEMA, ["fine.jpg", key])
        assert len(str(caught.value)) < 600
        assert find_store(address) is None

    def test_as_many_keys_as_make_a_chunk_may_all_be_as_long_as_any(self, address: str) -> None:
        keys = [f"{row:04096d}" for row in range(4500)]
        create_store(address, SCHEMA, keys)
        assert list(open_store(address).keys) == keys

    def test_a_key_may_not_come_twice(self, address: str) -> None:
        with pytest.raises(StoreError, match="row 2 has the key 'a.jpg' again"):
            create_store(address, SCHEMA, ["a.jpg", "b.jpg", "a.jpg"])

    def test_repeated_keys_far_apart_are_found(self, address: str) -> None:
        keys = MadeKeys(KEYS_AT_ONCE + 20, {KEYS_AT_ONCE + 10: "3.jpg", KEYS_AT_ONCE + 15: "1.jpg"})
        with pytest.raises(
            StoreError, match=f"row {KEYS_AT_ONCE + 10} has the key '3.jpg' again; every key must name one pic"
        ):
            create_store(address, SCHEMA, keys)
        assert find_store(address) is None

    def test_keys_are_made_when_they_are_asked_for_and_held_a_block_at_a_time(self, address: str) -> None:
        keys = MadeKeys(3 * KEYS_AT_ONCE + 1)
        store = create_store(address, replace(SCHEMA, rows_per_shard=KEYS_AT_ONCE), keys)
        assert keys.alive.most <= 2 * KEYS_AT_ONCE  # a block is dropped when the next one has been made
        expected = [f"{row}.jpg" for row in range(len(keys))]
        text = "".join(f"{key}\0" for key in expected)
        assert store.header.keys_sha256 == hashlib.sha256(text.encode()).hexdigest()
        assert list(open_store(address).keys) == expected
        assert [store.find(expected[row]) for row in (0, KEYS_AT_ONCE, 3 * KEYS_AT_ONCE)] == [
            0,
            KEYS_AT_ONCE,
            3 * KEYS_AT_ONCE,
        ]

    def test_resuming_with_equal_keys_does_not_load_those_that_are_stored(
        self, full: LabelStore, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(type(full.backend), "load_keys", lambda self: pytest.fail("the stored keys were loaded"))
        assert create_store(address, SCHEMA, tuple(KEYS)).pending() == []

    @pytest.mark.parametrize(
        ("keys", "sentence"),
        [
            (
                KEYS[:-1],
                f"has 10, this run has 9; 1 are in only one of them, the first, {KEYS[9]!r}, in the store",
            ),
            ([*KEYS, "a.jpg"], "has 10, this run has 11; 1 are in only one of them, the first, 'a.jpg', in this run"),
            ([*KEYS, KEYS[0]], "has 10, this run has 11"),
        ],
    )
    def test_another_number_of_keys_is_reported_with_the_first_that_only_one_has(
        self, store: LabelStore, address: str, keys: list[str], sentence: str
    ) -> None:
        with pytest.raises(MismatchError) as caught:
            create_store(address, SCHEMA, keys)
        assert caught.value.differences == (f"keys: the store {sentence}",)

    def test_a_newer_format_is_refused_by_name(self, full: LabelStore, address: str, age: Callable[[], None]) -> None:
        age()
        for opener in (open_store, find_store):
            with pytest.raises(FormatError, match="its format is 2, this version of tokenlabel reads format 1"):
                opener(address)
