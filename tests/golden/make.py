"""How were the golden stores made, and what do they hold? Once, when their format was frozen; never again.

    python -m tests.golden.make

Everything is written out or computed with whole numbers: nothing depends on a generator of random numbers. What is
expected is found by zarr-python and by the formula of docs/format.md in fractions, not by the readers under test.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from storage import LabelMap, Schema, Status, create_store
from storage.labelmap import class_dtype, no_class

FOLDER = Path(__file__).parent
STORES = ("format-1.zarr", "format-1-logit.zarr")
EXPECTED = "expected.json"

GRID, K, CLASSES = (3, 2), 2, ("Kater", "Hündin", "鳥", "fish", "nothing else")
KEYS = [f"{folder}/{n}.jpg" for n in range(2) for folder in ("a", "größe 写真", "c d", "x.y", "😀")]
TARGETS = [0, 1, -1, 2, 0, 1, -1, 2, 0, 1]
PENDING = range(6, 9)  # the third of four shards; the last has one row
REASONS = {1: (Status.MISSING, "the file is gone"), 4: (Status.UNDECODABLE, "größer als 0 Bytes, aber kein Bild: 😀")}
BOXES = {0: (0, 0, 1, 1), 2: (-1, 0, 2, 1), 3: (0, 1 / 3, 1, 2 / 3), 5: (0.125, 0.1, 0.875, 0.9), 9: (0, -0.5, 1, 1.5)}
RUN = {"attempt": 1, "seconds": 1.5, "finished": "2026-01-31T12:00:00+00:00", "worker": "golden:1", "device": "cpu"}
RECIPE = {"model": "golden", "weights": "sha256:0", "input_size": [24, 16], "mean": [0.5, 0.25, 1e-05], "head": "local"}

# The two best of each location: sure, unsure, mostly remainder, certain, nothing, halves, the second rounds to nothing.
PROBABILITIES = [(0.9, 0.05), (0.34, 0.33), (0.2, 0.1), (1, 0), (0, 0), (0.5, 0.5), (0.6, 1e-6)]
# As float16 has them: ordinary, negative, the largest, the smallest, minus nothing, below all.
LOGITS = [(12.5, -3.25), (0.1, 0.0), (65504, 6e-8), (-0.0, -1), (7, -np.inf)]


def make(folder: Path) -> None:
    """Write the golden stores and what is expected of them."""
    expected = {}
    for name, scores, score_type in zip(STORES, ("probability", "logit"), ("uint8", "float16"), strict=True):
        schema = Schema(
            grid=GRID,
            k=K,
            class_count=len(CLASSES),
            class_names=CLASSES,
            target_names=("cat", "dog", "bird"),
            rows_per_shard=3,
            scores=scores,
            score_type=score_type,
            recipe=RECIPE,
            provenance={"software": {"tokenlabel": "0.2.0"}},
        )
        store = create_store(folder / name, schema, KEYS, TARGETS)
        for rows in store.pending():
            if rows != PENDING:
                reasons = {row: REASONS[row][1] for row in rows if row in REASONS}
                store.write(rows, LabelMap.stack([_label(row, schema) for row in rows]), reasons=reasons, run=RUN)
        expected[name] = describe(folder / name)
    (folder / EXPECTED).write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(address: Path) -> dict[str, Any]:
    """All that a store holds, as JSON: floats in hexadecimal, exact."""
    group = zarr.open_group(address, mode="r")
    header = group.attrs["tokenlabel"]
    records = [json.loads(text) if text else None for text in group["shards/record"][:].tolist()]
    committed = [row for record in records if record for row in range(record["start"], record["stop"])]
    arrays = {name: group[name][:] for name in ("classes", "scores", "boxes", "sizes", "status")}
    rows = {row: {name: _exact(values[row]) for name, values in arrays.items()} for row in committed}
    if header["schema"]["scores"] == "probability":
        for row, values in rows.items():
            values["probabilities"] = [[_decoded(codes) for codes in line] for line in arrays["scores"][row].tolist()]
    return {
        "header": header,
        "keys": group["keys"][:].tolist(),
        "targets": group["targets"][:].tolist(),
        "pending": [shard for shard, record in enumerate(records) if not record],
        "failures": [failure for record in records if record for failure in record["failures"]],
        "runs": [record and record["run"] for record in records],
        "rows": {str(row): values for row, values in rows.items()},
    }


def _label(row: int, schema: Schema) -> LabelMap:
    if row in REASONS:
        empty = LabelMap.unlabelled(REASONS[row][0], grid=GRID, k=K, class_count=len(CLASSES))
        dtype = np.dtype(np.float32 if schema.scores == "probability" else schema.score_type)
        return LabelMap(
            empty.classes, empty.scores.astype(dtype), empty.boxes, empty.sizes, empty.status, schema.scores
        )
    cells = PROBABILITIES if schema.scores == "probability" else LOGITS
    dtype, places = class_dtype(len(CLASSES)), np.arange(GRID[0] * GRID[1]).reshape(GRID) + row
    classes = np.stack([places % len(CLASSES), (places + 1 + row % 2) % len(CLASSES)], -1).astype(dtype)
    scores = np.array(cells, np.float32 if schema.scores == "probability" else schema.score_type)[places % len(cells)]
    if row == 9:
        classes[0, 0, 1], scores[0, 0, 1] = no_class(dtype), 0
    return LabelMap(
        classes=classes,
        scores=scores,
        boxes=np.array(BOXES[row], np.float32),
        sizes=np.array([480 + row, 640 - row], np.uint32),
        status=np.array(Status.LABELLED, np.uint8),
        kind=schema.scores,
    )


def _decoded(codes: list[int]) -> list[str]:
    """The probabilities of one location, by the formula in fractions; each is a float32."""
    first, *others = [Fraction(code % 128, 128) ** 2 for code in codes]
    if codes[0] < 128:
        first = 1 - first - sum(others)
    return [float(value).hex() for value in (first, *others)]


def _exact(values: np.ndarray) -> Any:
    """Nested lists; floats in hexadecimal."""
    if values.ndim:
        return [_exact(part) for part in values]
    return float(values).hex() if values.dtype.kind == "f" else int(values)


if __name__ == "__main__":
    if any((FOLDER / name).exists() for name in STORES):
        sys.exit(f"golden stores are made once, and {FOLDER} has them; a new format gets stores of its own")
    make(FOLDER)
