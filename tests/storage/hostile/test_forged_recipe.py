"""Do commands survive a recipe and a provenance of any form? A sealed header may hold any JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from storage import LabelStore
from tests.storage.hostile.folders import shard_file
from tests.storage.hostile.test_forged import forge_header

LOCAL = {"value": 0.5, "interval": [0.4, 0.6], "alone": 0.9, "kept": [0.5, 0.4, 0.6], "mosaics": 2, "why_not": ""}
CHANGES: list[dict[str, Any]] = [
    {"schema.recipe": {"networks": 5}},
    {"schema.recipe": {"networks": ["resnet50", {"weights": 1}, None]}},
    {"schema.recipe": {"imported": ["x"], "light": 5, "scales": "x", "preprocess": {}}},
    {"schema.recipe": {"networks": [{"model": "resnet50", "input_size": 7}]}, "schema.provenance": {"networks": [1]}},
    {"schema.provenance": {"light_from": 5, "head": 3, "networks": {"a": 1}}},
    *({"schema.provenance": {"locality": {**LOCAL, name: value}}} for name in LOCAL for value in ("x", [], {}, [1])),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: json.dumps(change)[:70])
def test_a_recipe_of_any_form_ends_no_command_in_a_traceback(full: LabelStore, address: Path, change: Any) -> None:
    forge_header(address, change)
    shard_file(address, 1).write_bytes(b"")
    for words in (["status"], ["verify", "--repair"], ["inspect"], ["convert", f"{address}.light.zarr", "--k", "1"]):
        command, *more = words
        result = CliRunner().invoke(main, [command, str(address), *more])
        assert isinstance(result.exception, SystemExit | None), (words, result.exception)


def test_the_name_of_a_network_is_no_part_of_a_command(full: LabelStore, address: Path) -> None:
    """People copy the command that `verify` shows."""
    forge_header(address, {"schema.recipe": {"networks": [{"model": "x; rm -r ~\x1b[31m"}]}})
    shard_file(address, 1).write_bytes(b"")
    output = CliRunner().invoke(main, ["verify", str(address), "--repair"]).output
    assert "--model 'x; rm -r ~\N{REPLACEMENT CHARACTER}[31m'" in output


@pytest.mark.parametrize("attributes", ["x", ["y"], 7])
def test_attributes_of_another_form_are_damage(full: LabelStore, address: Path, attributes: Any) -> None:
    if address.suffix != ".zarr":
        pytest.skip("HDF5 keeps attributes of its own")
    path = address / "keys/zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "attributes": attributes}))
    result = CliRunner().invoke(main, ["verify", str(address)])
    assert (result.exit_code, "keys/zarr.json is not what follows" in result.output) == (4, True)
