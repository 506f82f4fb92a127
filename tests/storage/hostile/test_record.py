"""Is every commit record that is written one that is read, however much its reasons say?"""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from storage import DamageError, LabelMap, Schema, StoreError, create_store, open_store, verify
from storage.json_fields import parsed
from storage.record import Failure, Record, most_bytes
from storage.status import Status
from tests.labels import random_labels

ROWS = 64


def _failed() -> LabelMap:
    return LabelMap.stack([LabelMap.unlabelled(Status.UNDECODABLE, grid=(6, 5), k=3, class_count=40)] * ROWS)


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
@pytest.mark.parametrize("reason", ["x", "é", "\U0001f600", "[", '"', "\\", "[{"], ids=ascii)
def test_reasons_that_are_too_long_are_cut_and_then_read(tmp_path: Path, suffix: str, reason: str) -> None:
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=ROWS)
    store = create_store(tmp_path / f"labels.{suffix}", schema, [f"{row}.jpg" for row in range(ROWS)])
    short, long = reason * 30, reason * 10_000
    written = store.write(range(ROWS), _failed(), reasons={row: long if row else short for row in range(ROWS)})
    found = open_store(store.address).record(0)
    assert found == written
    assert verify(open_store(store.address)).state == "ok"
    assert written.failures[0].reason == short
    cut = written.failures[1].reason
    assert re.fullmatch(re.escape(reason[:1]) + r".{300,3990}…", cut)
    assert long.startswith(cut[:-1])


def test_reasons_of_a_million_pictures_have_room_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.record._MOST", 2**17)
    rows = range(400)
    failures = [Failure(row=row, status=Status.UNDECODABLE, reason="the disk is away, " * 9) for row in rows]
    record = Record.of(rows, failures=failures, objects={}, run={})
    assert record.failures[0].reason.startswith("the disk is away")
    assert len(record.to_text()) < most_bytes(400) == 2**17
    assert Record.from_text(record.to_text(), rows=rows) == record


def test_a_record_that_would_not_be_read_is_not_written(tmp_path: Path) -> None:
    for suffix in ("zarr", "h5"):
        schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=ROWS)
        store = create_store(tmp_path / f"labels.{suffix}", schema, [f"{row}.jpg" for row in range(ROWS)])
        labels = random_labels(np.random.default_rng(0), ROWS)
        with pytest.raises(StoreError, match="cannot write rows 0 to 64: their commit record.*at most 327,616 are"):
            store.write(range(ROWS), labels, run={"note": "x" * 2**19})
        assert store.pending() == [range(ROWS)]


def test_brackets_within_texts_are_no_lists() -> None:
    assert parsed(b'["[[[[", "{{{{\\"[[[", {}]', most=2) == ["[[[[", '{{{{"[[[', {}]
    for text in (b'["[", [], []]', b'["[\\\\", [], []]', b"[[[", b'[[["'):
        with pytest.raises(ValueError, match="objects and lists; at most 2 are read"):
            parsed(text, most=2)


def test_texts_that_never_end_are_refused_in_no_time_and_memory() -> None:
    """Each quote could begin one: without an end for all, 2 million would be tried, each to the end of the rest."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="Unterminated|Expecting|Invalid"):
            parsed(b"[[" + b'"' + b'\\"[' * 2**20, most=2)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_a_record_is_damage_if_it_has_more_lists_than_its_rows_can_need() -> None:
    with pytest.raises(DamageError, match="it has 65,542 objects and lists; at most 65,540 are read"):
        Record.from_text('{"failures": [' + "[], " * (2**16 + 3) + "[]" * 1 + "]}", rows=range(4))
