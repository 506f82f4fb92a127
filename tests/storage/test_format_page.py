"""Is what docs/format.md says true? Its programs are run, and its examples worked, against the code."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from storage import Status, create_store
from storage.encoding import scores
from storage.header import seal_of
from storage.keys import key_index
from storage.zarr_backend.layout import CONVENTION
from tests.storage.contract.samples import KEYS, SCHEMA

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def programs() -> dict[str, Callable[..., Any]]:
    names: dict[str, Any] = {"np": np, "hashlib": hashlib, "json": json}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(block, names)
    return names


def table(heading: str) -> list[list[str]]:
    """The cells of the first table after a line."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    rows = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_its_decoder_is_ours_for_every_pair_of_codes(programs: dict[str, Any]) -> None:
    codes = np.stack(np.meshgrid(np.arange(256), np.arange(128)), -1).astype(np.uint8)
    codes = codes[scores.mass(codes) <= 1]
    assert programs["decode"](codes).tobytes() == scores.decode(codes).tobytes()


def test_its_locations_by_hand_are_coded_so(programs: dict[str, Any]) -> None:
    worked = re.findall(
        r"\*p\* = ([\d., ]+), and so.*?codes +(\d+) +(\d+) +(\d+)\n.*?p = ([\d, ]+) of 16384", PAGE, re.DOTALL
    )
    assert len(worked) == 2
    for numbers, *codes, written in worked:
        probabilities = np.array([float(number) for number in numbers.split(", ")])
        coded = scores.encode(probabilities)
        assert coded.tolist() == [int(code) for code in codes]
        assert (scores.decode(coded) * 16384).tolist() == [int(number) for number in written.split(", ")]
    assert "codes 128, 0, 0" in PAGE
    assert scores.encode(np.zeros(3)).tolist() == [128, 0, 0]


def test_its_search_finds_every_row_and_nothing_else(programs: dict[str, Any]) -> None:
    keys = [f"é {n}.jpg" for n in range(300)]
    salt, digests, slots = key_index.build(keys, salt=7)
    assert [programs["find"](key, digests, slots, salt) for key in keys] == list(range(300))
    assert all(programs["find"](f"{key}x", digests, slots, salt) is None for key in keys)


def test_its_key_index_by_hand_is_built_so() -> None:
    keys = ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "größe/2.jpg"]
    assert "For the four keys " + ", ".join(f"`{key}`" for key in keys) in PAGE
    _, digests, slots = key_index.build(keys)
    rows = table("For the four keys")
    assert [int(row[1], 16) for row in rows] == digests.tolist()
    assert [int(row[2]) for row in rows] == [(digest >> 32) * 8 >> 32 for digest in digests.tolist()]
    assert [slots.tolist()[int(row[4])] for row in rows] == [0, 1, 2, 3]
    shown = ", ".join("–" if slot == key_index.EMPTY else str(slot) for slot in slots.tolist())
    assert f"`slots` is {shown}." in PAGE


def test_rows_are_put_into_slots_in_the_order_of_their_digests() -> None:
    """The page says so of a table that is built otherwise, and quicker."""
    keys = [f"{n}.jpg" for n in range(999)]
    _, digests, slots = key_index.build(keys)
    expected = np.full(len(slots), key_index.EMPTY, np.uint32)
    for row in np.argsort(digests).tolist():
        slot = (int(digests[row]) >> 32) * len(slots) >> 32
        while expected[slot] != key_index.EMPTY:
            slot = (slot + 1) % len(slots)
        expected[slot] = row
    assert (slots == expected).all()


def test_its_seal_is_ours(programs: dict[str, Any]) -> None:
    header, text, seal = re.search(r"For example, `(.*?)` has the text `(.*?)` and the seal `(.*?)`", PAGE).groups()
    assert programs["seal"](json.loads(header)) == seal_of(json.loads(header)) == seal
    assert hashlib.sha256(text.encode()).hexdigest() == seal


def test_its_arrays_are_those_of_a_store(tmp_path: Path) -> None:
    create_store(tmp_path / "labels.zarr", SCHEMA, KEYS)
    group = zarr.open_group(tmp_path / "labels.zarr", mode="r")
    rows = {row[0].strip("`"): row for row in table("## Arrays")}
    found = {name: node for name, node in group.members(max_depth=None) if isinstance(node, zarr.Array)}
    assert rows.keys() == found.keys()
    codecs = {
        "sharded": ["sharding_indexed"],
        "plain": ["bytes", "crc32c"],
        "`vlen-utf8`, `zstd`": ["vlen-utf8", "zstd"],
        "`bytes`, `zstd`": ["bytes", "zstd"],
        "`vlen-utf8`, `crc32c`": ["vlen-utf8", "crc32c"],
    }
    sizes = {"n": 10, "2n": 20, "⌈n/s⌉": 3, "h": 6, "w": 5, "k": 3, "s": 4, "4": 4, "2": 2, "1": 1}
    for name, (_, dtype, axes, shape, chunk, packed, fill) in rows.items():
        document = json.loads((tmp_path / "labels.zarr" / name / "zarr.json").read_text())
        assert dtype.startswith(document["data_type"]), name
        assert axes == ", ".join(document["dimension_names"]), name
        assert [sizes[part] for part in shape.split(", ")] == document["shape"], name
        assert [codec["name"] for codec in document["codecs"]] == codecs[packed], name
        outer = document["chunk_grid"]["configuration"]["chunk_shape"]
        if packed == "sharded":
            assert outer == [4, 6, 5, 3]
            inner = document["codecs"][0]["configuration"]
            assert inner["chunk_shape"] == [1, 6, 5, 3]
            assert inner["index_location"] == "end"
            assert [codec["name"] for codec in inner["codecs"]] == ["bytes", "zstd"]
            assert inner["codecs"][1]["configuration"] == {"level": 9, "checksum": True}
            assert [codec["name"] for codec in inner["index_codecs"]] == ["bytes", "crc32c"]
        elif chunk.replace(",", "").isdigit():
            assert outer == [min(int(chunk.replace(",", "")), document["shape"][0])], name
        else:
            assert outer == [sizes[part] for part in chunk.split(", ")], name
        if name != "classes":
            assert fill.partition(";")[0].replace(",", "") == json.dumps(
                document["fill_value"], ensure_ascii=False
            ).replace('"NaN"', "NaN")


def test_its_constants_are_ours() -> None:
    assert CONVENTION["uuid"] in PAGE
    words = re.search(r"\*\*status\*\*: (.*?)\.", PAGE).group(1).split(" · ")
    assert words == [f"{status.value} {status.word}" for status in Status]
    assert {row[0] for row in table("| field | meaning |")} >= {"`labelled`", "`failures`", "`objects`", "`run`"}


def test_its_record_by_hand_is_what_zarr_writes(tmp_path: Path) -> None:
    create_store(tmp_path / "labels.zarr", SCHEMA, KEYS)
    zarr.open_group(tmp_path / "labels.zarr", mode="r+")["shards/record"][0] = "{}"
    shown = re.search(r"The\s+record `{}` would be `(.*?)`", PAGE).group(1)
    assert (tmp_path / "labels.zarr/shards/record/c/0").read_bytes().hex(" ") == shown
