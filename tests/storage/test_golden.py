"""Do stores of released formats still open, and hold what they held?"""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from storage import LabelStore, NotLabelledError, open_store, verify
from tests.golden.make import EXPECTED, FOLDER, STORES, describe, make

EXAMPLE = Path(__file__).parents[2] / "examples" / "format" / "read_without_us.py"


# The HDF5 stores are copies of the others, made when format 1 was frozen.
HDF5 = {name.replace(".zarr", ".h5"): name for name in STORES}


@pytest.fixture(params=[*STORES, *HDF5])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def expected(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / EXPECTED).read_text(encoding="utf-8"))[HDF5.get(name, name)]


@pytest.fixture(params=["in its place", "copied"])
def golden(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> LabelStore:
    if request.param == "in its place":
        return open_store(FOLDER / name)
    return open_store(shutil.copytree(FOLDER / name, tmp_path / f"moved-{name}"))


def hexadecimal(values: np.ndarray) -> Any:
    if values.ndim:
        return [hexadecimal(part) for part in values]
    return float(values).hex()


def test_it_says_of_itself_what_it_said(golden: LabelStore, expected: dict[str, Any]) -> None:
    assert golden.header.to_json() == expected["header"]
    assert list(golden.keys) == expected["keys"]
    assert golden.targets.tolist() == expected["targets"]
    assert [golden.find(key) for key in expected["keys"]] == list(range(len(golden)))


def test_every_value_of_every_row_is_what_it_was(golden: LabelStore, expected: dict[str, Any]) -> None:
    rows = [int(row) for row in expected["rows"]]
    read, coded = golden.read(rows), golden.backend.fetch([divmod(row, golden.schema.rows_per_shard) for row in rows])
    for place, values in enumerate(expected["rows"].values()):
        label = read[place]
        assert label.classes.tolist() == values["classes"]
        assert hexadecimal(label.scores) == values.get("probabilities", values["scores"])
        assert hexadecimal(label.boxes) == values["boxes"]
        assert label.sizes.tolist() == values["sizes"]
        assert int(label.status) == values["status"]
        if golden.schema.scores == "probability":
            assert coded.scores[place].tolist() == values["scores"]


def test_its_records_and_what_is_pending_are_what_they_were(golden: LabelStore, expected: dict[str, Any]) -> None:
    records = [record for _, record in golden.records()]
    assert [shard for shard, record in enumerate(records) if record is None] == expected["pending"]
    assert [record and dict(record.run) for record in records] == expected["runs"]
    assert [
        {"row": failure.row, "status": failure.status.word, "reason": failure.reason}
        for record in records
        if record
        for failure in record.failures
    ] == expected["failures"]
    for rows in golden.pending():
        with pytest.raises(NotLabelledError):
            golden.read([rows.start])


def test_it_is_whole(golden: LabelStore, expected: dict[str, Any]) -> None:
    found = verify(golden, deep=True)
    assert found.shared == ()
    states = ["pending" if shard in expected["pending"] else "ok" for shard in range(len(golden.shards()))]
    assert [report.state for report in found.shards] == states


def test_it_can_be_read_without_us(golden: LabelStore, name: str, expected: dict[str, Any]) -> None:
    if name in HDF5:
        with h5py.File(FOLDER / name / "store.h5", locking=False) as file:
            for row, values in expected["rows"].items():
                assert file["classes"][int(row)].tolist() == values["classes"]
        return
    example = SimpleNamespace(**runpy.run_path(str(EXAMPLE)))
    group, header = example.open_labels(golden.address)
    for row, values in expected["rows"].items():
        if values["status"] == 0:
            classes, scores, box = example.read(group, header, int(row))
            assert classes.tolist() == values["classes"]
            assert hexadecimal(scores) == values.get("probabilities", values["scores"])
            assert hexadecimal(box) == values["boxes"]


@pytest.mark.parametrize("name", STORES)
def test_what_is_written_today_holds_the_same(name: str, expected: dict[str, Any], tmp_path: Path) -> None:
    make(tmp_path)
    assert describe(tmp_path / name) == expected
