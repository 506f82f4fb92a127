"""Does a Schema survive JSON, and say how it differs?"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import FormatError, Schema, StoreError
from storage.header import Header

SCHEMA = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=4)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    grid=st.tuples(st.integers(1, 99), st.integers(1, 99)),
    names=st.lists(st.text(max_size=9), min_size=1, max_size=6),
    recipe=st.dictionaries(st.text(max_size=5), plain, max_size=4),
)
def test_json_gives_an_equal_schema_back(grid: tuple[int, int], names: list[str], recipe: dict[str, object]) -> None:
    schema = Schema(grid=grid, k=1, class_count=len(names), class_names=tuple(names), rows_per_shard=8, recipe=recipe)
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    assert again == schema
    assert schema.differences(again) == []


@pytest.mark.parametrize(
    "values",
    [
        {"grid": (0, 5)},
        {"k": 0},
        {"k": 41},
        {"rows_per_shard": 0},
        {"class_names": ("one",)},
        {"scores": "guess"},
        {"scores": "logit"},
        {"scores": "logit", "score_type": "uint8"},
    ],
)
def test_fields_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values)).split("_")[0]):
        Schema(**{"grid": (6, 5), "k": 3, "class_count": 40, "rows_per_shard": 4, **values})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": "many"}, "its schema is not valid"),
    ],
)
def test_json_that_is_not_a_schema_is_a_format_error(change: dict[str, object], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        Schema.from_json({**SCHEMA.to_json(), **change})


def test_shards_cover_every_row_once() -> None:
    assert SCHEMA.shards(10) == [range(4), range(4, 8), range(8, 10)]
    assert SCHEMA.shards(8) == [range(4), range(4, 8)]


def test_what_a_later_version_has_added_is_ignored() -> None:
    assert Schema.from_json({**SCHEMA.to_json(), "surprise": 1}) == SCHEMA


def test_texts_that_make_a_header_longer_than_is_read_are_refused() -> None:
    with pytest.raises(ValueError, match=r"have 9,000,\d+ bytes; at most 8,388,608 are read. Leave out the names"):
        replace(SCHEMA, recipe={"a": "a" * 9_000_000})


def nested(levels: int) -> dict[str, object]:
    found: dict[str, object] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


@pytest.mark.parametrize("recipe", [{"a": float("nan")}, {"a": object()}, {"a": "\udc80"}, nested(50_000)])
def test_a_recipe_that_is_not_json_is_refused(recipe: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be JSON in UTF-8"):
        Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=4, recipe=recipe)


def test_a_header_of_more_lists_than_are_read_is_not_written() -> None:
    header = Header.of(SCHEMA, "0" * 64, np.zeros(4, np.int32), 0)
    assert header.check_readable(b"[]", "labels.zarr") == header
    with pytest.raises(StoreError, match="cannot write the header of labels.zarr.*objects and lists; at most"):
        header.check_readable(b"[" + b"[]," * 2**20 + b"[]]", "labels.zarr")
