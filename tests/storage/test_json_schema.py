"""Does docs/label-store.schema.json say what a store's header is, and what it is not?"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import zarr
from jsonschema import Draft202012Validator

from storage import Schema, create_store, open_store
from storage.header import FORMAT, Header
from storage.zarr_backend.layout import CONVENTION
from tests.storage.contract.samples import KEYS, SCHEMA

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "label-store.schema.json").read_text())
VALIDATOR = Draft202012Validator(DOCUMENT)
LOGITS = Schema(grid=(18, 18), k=5, class_count=1000, rows_per_shard=64, scores="logit", score_type="float16")
NAMED = replace(SCHEMA, class_names=tuple(f"größe {n}" for n in range(40)), target_names=("a", "b"))


@pytest.fixture
def address(tmp_path: Path) -> Path:
    create_store(tmp_path / "labels.zarr", SCHEMA, KEYS)
    return tmp_path / "labels.zarr"


def root(address: Path) -> dict[str, Any]:
    return json.loads((address / "zarr.json").read_text())


def test_it_is_a_json_schema_itself() -> None:
    Draft202012Validator.check_schema(DOCUMENT)


@pytest.mark.parametrize("schema", [SCHEMA, NAMED, LOGITS], ids=["plain", "named", "logits"])
def test_the_root_of_every_kind_of_store_is_valid(tmp_path: Path, schema: Schema) -> None:
    create_store(tmp_path / "labels.zarr", schema, KEYS, range(10))
    VALIDATOR.validate(root(tmp_path / "labels.zarr"))


def test_it_stays_valid_when_metadata_are_consolidated_by_us_or_by_zarr(address: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.zarr"
    shutil.copytree(address, copy)
    open_store(address, writable=True).backend.consolidate()
    with pytest.warns(UserWarning, match="Consolidated metadata is currently not part"):
        zarr.consolidate_metadata(copy)
    for document in (root(address), root(copy)):
        assert "consolidated_metadata" in document
        VALIDATOR.validate(document)


def test_it_stays_valid_beside_other_conventions(address: Path) -> None:
    document = root(address)
    document["attributes"]["zarr_conventions"].append({"uuid": "b77365e5-2b0c-4141-b917-c03b7c68e935"})
    document["attributes"]["license"] = {"spdx": "CC-BY-4.0"}
    VALIDATOR.validate(document)


BROKEN: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "'tokenlabel' is a required property": lambda root, header: root["attributes"].pop("tokenlabel"),
    "'tokenlabel:sha256' is a required property": lambda root, header: root["attributes"].pop("tokenlabel:sha256"),
    "does not contain items matching": lambda root, header: root["attributes"]["zarr_conventions"].clear(),
    "'group' was expected": lambda root, header: root.update(node_type="array"),
    "1 was expected": lambda root, header: header.update(format=2),
    "does not match": lambda root, header: header.update(keys_sha256="crc32c:1234"),
    "'10' is not of type 'integer'": lambda root, header: header.update(rows="10"),
    "'targets_sha256' is a required property": lambda root, header: header.pop("targets_sha256"),
    "'colour' was unexpected": lambda root, header: header.update(colour="red"),
    "'axes' was unexpected": lambda root, header: header["schema"].update(axes="xy"),
    "is too short": lambda root, header: header["schema"].update(grid=[6]),
    "0 is less than the minimum of 1": lambda root, header: header["schema"].update(k=0),
    "'uint8' was expected": lambda root, header: header["schema"].update(score_type="float16"),
    "'uint8' is not one of": lambda root, header: header["schema"].update(scores="logit"),
    "'votes' is not one of": lambda root, header: header["schema"].update(scores="votes"),
    "'cat' is not of type 'array', 'null'": lambda root, header: header["schema"].update(class_names="cat"),
    "None is not of type 'object'": lambda root, header: header["schema"].update(recipe=None),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_header_is_not_valid_and_the_reason_is_found(address: Path, words: str) -> None:
    document = root(address)
    BROKEN[words](document, document["attributes"]["tokenlabel"])
    messages = [error.message for error in VALIDATOR.iter_errors(document)]
    assert any(re.search(words, message) for message in messages), messages


def test_its_fields_are_those_of_our_own_header() -> None:
    definitions = DOCUMENT["$defs"]
    assert definitions["header"]["properties"].keys() == {"format", *(field.name for field in fields(Header))}
    assert definitions["schema"]["properties"].keys() == {field.name for field in fields(Schema)}
    assert definitions["header"]["properties"]["format"]["const"] == FORMAT
    assert definitions["convention"]["properties"]["uuid"]["const"] == CONVENTION["uuid"]
