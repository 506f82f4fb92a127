"""Are keys that name no picture refused, wherever they stand, and however many there are?"""

from __future__ import annotations

import hashlib
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import StoreError
from storage.keys.key import (
    KEYS_AT_ONCE,
    blocks,
    check_keys,
    hash_keys,
    hash_sound_keys,
    is_key,
    key_differences,
    refuse_repeats,
    why_unknown,
)
from tests.storage.contract.made_keys import MadeKeys

texts = st.lists(st.text(st.sampled_from("a./é\0\udc80"), max_size=4), max_size=6)


def is_utf8(key: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in key)


@given(keys=texts)
def test_keys_are_refused_together_as_they_are_one_by_one(keys: list[str]) -> None:
    wrong = [row for row, key in enumerate(keys) if not is_key(key) or not is_utf8(key)]
    if wrong:
        with pytest.raises(StoreError, match=f"^row {wrong[0]} has the key"):
            hash_sound_keys(keys)
    else:
        assert hash_sound_keys(keys) == hash_keys(keys)


@given(keys=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_the_hash_is_over_each_key_and_a_zero_byte(keys: list[str]) -> None:
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode() + b"\0")
    assert hash_keys(keys) == digest.hexdigest()


def test_a_key_of_a_later_block_is_named_with_its_row() -> None:
    for key, words in (
        ("../a", "a relative path"),
        ("\udc80", "not UTF-8"),
        ("7.jpg", "again; every key must name one"),
    ):
        keys = MadeKeys(KEYS_AT_ONCE + 20, {KEYS_AT_ONCE + 10: key})
        with pytest.raises(StoreError, match=f"row {KEYS_AT_ONCE + 10} has the key .*{words}"):
            check_keys(keys)
        assert keys.alive.most <= 2 * KEYS_AT_ONCE


def test_the_first_key_that_was_there_before_is_the_one_that_is_named() -> None:
    with pytest.raises(StoreError, match="row 3 has the key 'b' again"):
        check_keys(["a", "b", "c", "b", "a", "b"])


def test_keys_that_differ_may_share_a_digest() -> None:
    digests = np.array([5, 5, 7, 5], np.uint64)
    refuse_repeats(["a", "b", "c", "d"], digests)
    with pytest.raises(StoreError, match="row 3 has the key 'b' again"):
        refuse_repeats(["a", "b", "c", "b"], digests)


@pytest.mark.parametrize(("stored", "run", "tool"), [("NFC", "NFD", "--nfc"), ("NFD", "NFC", "--nfd")])
def test_names_in_two_forms_of_unicode_are_shown_so_that_they_differ(stored: str, run: str, tool: str) -> None:
    names = ["a.jpg", "café.jpg", "cafz.jpg"]
    mine, theirs = (sorted(normalize(form, name) for name in names) for form in (stored, run))
    (sentence,) = key_differences(mine, theirs)
    for form in (stored, run):
        assert ascii(normalize(form, "café.jpg")) in sentence
    assert "two forms of Unicode" in sentence
    assert tool in sentence


def test_names_that_differ_more_are_shown_as_before() -> None:
    assert key_differences(["é"], ["e"]) == ["keys: in row 0 the store has 'é', this run has 'e'"]


def test_an_unknown_key_that_is_known_in_another_form_says_so() -> None:
    assert why_unknown("caf\xe9", {"cafe\u0301"}.__contains__) == (
        r"'caf\xe9', but one for 'cafe\u0301': one name in two forms of Unicode, which look the same"
    )
    assert why_unknown("caf\xe9", {"cafe"}.__contains__).startswith("'café'; keys are paths relative to")


def test_blocks_are_the_keys_in_order() -> None:
    assert list(blocks(tuple("abcde"), 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(blocks([])) == []
