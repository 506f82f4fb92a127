"""Can a label be read without us? The example does so, as a process and as functions, and finds our numbers."""

from __future__ import annotations

import ast
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from storage import LabelMap, LabelStore, Schema, Status, create_store
from storage.encoding import scores
from storage.labelmap import no_class
from tests.labels import random_labels

EXAMPLE = Path(__file__).parents[2] / "examples" / "format" / "read_without_us.py"
NAMES = tuple(f"größe {n}" for n in range(40))
KEYS = [f"class {n % 3}/é {n}.jpg" for n in range(10)]


@pytest.fixture
def example() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(EXAMPLE)))


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    """Rows 0 to 3 and 8 to 9 are written, row 1 could not be labelled, rows 4 to 7 are pending."""
    return _store(tmp_path / "labels.zarr", random_labels(np.random.default_rng(3), 10), class_names=NAMES)


def _store(address: Path, labels: LabelMap, **fields: object) -> LabelStore:
    schema = Schema(grid=labels.grid, k=labels.k, class_count=40, rows_per_shard=4, **fields)
    store = create_store(address, schema, KEYS)
    failed = LabelMap.unlabelled(Status.UNDECODABLE, grid=labels.grid, k=labels.k, class_count=40)
    if labels.kind == "probability":
        labels = LabelMap.stack([failed if row == 1 else labels[row] for row in range(10)])
    for rows in (range(4), range(8, 10)):
        store.write(rows, labels[rows.start : rows.stop], reasons={1: "the file is empty"})
    return store


def test_it_needs_numpy_zarr_and_json_and_nothing_else() -> None:
    nodes = [node for node in ast.walk(ast.parse(EXAMPLE.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(isinstance(node, ast.Import) for node in nodes)
    assert {alias.name for node in nodes for alias in node.names} == {"json", "numpy", "sys", "zarr"}


def test_as_a_program_it_prints_our_numbers_to_the_last_bit(store: LabelStore) -> None:
    label = store.read([9])[0]
    for y, x in ((0, 0), (2, 3), (5, 4)):
        printed = _run(store.address, KEYS[9], str(y), str(x))
        assert printed[0] == f"{KEYS[9]}: row {y}, column {x} of (6, 5) over the box [0.0, 0.0, 1.0, 1.0]"
        known = label.classes[y, x] != no_class(label.classes.dtype)
        pairs = zip(label.scores[y, x][known].tolist(), label.classes[y, x][known].tolist(), strict=True)
        assert printed[1:] == [f"{score} {NAMES[class_id]}" for score, class_id in pairs]


def _run(*arguments: str) -> list[str]:
    command = [sys.executable, "-W", "error", str(EXAMPLE), *arguments]
    utf8 = {**os.environ, "PYTHONUTF8": "1"}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, encoding="utf-8", env=utf8
    ).stdout.splitlines()


def test_its_maps_are_ours_bit_for_bit(store: LabelStore, example: SimpleNamespace) -> None:
    group, header = example.open_labels(store.address)
    for row in (0, 2, 3, 8, 9):
        assert example.row_of(group, KEYS[row]) == row
        classes, probabilities, box = example.read(group, header, row)
        ours = store.read([row])[0]
        assert (classes.tobytes(), probabilities.tobytes(), box.tobytes()) == (
            ours.classes.tobytes(),
            ours.scores.tobytes(),
            ours.boxes.tobytes(),
        )
        assert (probabilities.dtype, probabilities.shape) == (ours.scores.dtype, ours.scores.shape)


def test_every_code_means_the_same_to_it(example: SimpleNamespace) -> None:
    codes = np.stack(np.meshgrid(np.arange(256), np.arange(0, 92, 7), np.arange(0, 92, 13)), -1).astype(np.uint8)
    codes = codes[scores.mass(codes) <= 1]
    assert len(codes) > 10_000
    assert example.decode(codes).tobytes() == scores.decode(codes).tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_logits_are_read_as_they_are_stored(tmp_path: Path, example: SimpleNamespace, dtype: type) -> None:
    some = random_labels(np.random.default_rng(5), 10)
    labels = LabelMap(some.classes, (20 * some.scores - 7).astype(dtype), some.boxes, some.sizes, some.status, "logit")
    store = _store(tmp_path / "logits.zarr", labels, scores="logit", score_type=np.dtype(dtype).name)
    group, header = example.open_labels(store.address)
    classes, logits, _ = example.read(group, header, 9)
    assert logits.dtype == dtype
    assert (logits == labels.scores[9]).all()
    assert (classes == labels.classes[9]).all()
    assert _run(store.address, KEYS[9])[1] == f"{logits[0, 0, 0]} {classes[0, 0, 0]}"


def test_a_row_without_a_label_is_refused_with_the_reason(store: LabelStore, example: SimpleNamespace) -> None:
    group, header = example.open_labels(store.address)
    with pytest.raises(LookupError, match="row 1 has no label, it is undecodable: the file is empty"):
        example.read(group, header, 1)


def test_a_shard_without_a_record_is_refused_whatever_lies_there(store: LabelStore, example: SimpleNamespace) -> None:
    Path(store.address, "shards/record/c/2").unlink()
    group, header = example.open_labels(store.address)
    for row in (4, 8):
        with pytest.raises(LookupError, match=f"row {row} is not labelled yet: its shard has no commit record"):
            example.read(group, header, row)


@pytest.mark.parametrize("name", ["classes/c/2/0/0/0", "scores/c/2/0/0/0", "boxes/c/2/0", "status/c/2"])
def test_an_object_that_is_missing_is_refused_though_zarr_reads_fill(
    store: LabelStore, example: SimpleNamespace, name: str
) -> None:
    Path(store.address, name).unlink()
    group, header = example.open_labels(store.address)
    with pytest.raises(ValueError, match="row 8 is damaged"):
        example.read(group, header, 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda attributes: attributes["tokenlabel"].update(format=2), "has format 2; this program reads format 1"),
        (lambda attributes: attributes.update({"tokenlabel:creating": True}), "is not a finished store"),
        (lambda attributes: attributes.pop("tokenlabel"), "is not a finished store"),
    ],
)
def test_what_is_not_a_store_of_format_1_is_refused(
    store: LabelStore, example: SimpleNamespace, change: Callable[[dict], object], words: str
) -> None:
    path = Path(store.address, "zarr.json")
    root = json.loads(path.read_text())
    change(root["attributes"])
    path.write_text(json.dumps(root))
    with pytest.raises(ValueError, match=words):
        example.open_labels(store.address)


def test_a_key_that_is_not_there_is_a_key_error(store: LabelStore, example: SimpleNamespace) -> None:
    with pytest.raises(KeyError, match="no picture has the key 'other.jpg'"):
        example.row_of(zarr.open_group(store.address, mode="r"), "other.jpg")
