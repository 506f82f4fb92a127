"""Does a store say how far it is?"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from storage import StoreError
from storage.zarr_backend.backend import ZarrBackend


def test_status_shows_how_far_a_store_is(command, store: Path) -> None:
    (store / "shards/record/c/1").unlink()
    result = command("status", store)
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "22 of 30 pictures labelled, 0 could not be, 8 pending (73.3 % done)\n3 of 4 shards"
    )
    assert re.search(r"22 pictures, .* a second", result.stdout)  # of the one worker
    answer = json.loads(command("status", store, "--json").stdout)
    known = {"pictures": 30, "labelled": 22, "failed": 0, "pending": 8, "shards": 4, "shards_pending": 1, "retried": 0}
    assert answer.items() >= {"store": str(store), **known}.items()
    ((_, worker),) = answer["workers"].items()
    assert worker["pictures"] == 22


def test_status_watches_until_all_is_done(command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = store / "shards/record/c/1"
    kept = record.read_bytes()
    record.unlink()
    monkeypatch.setattr(time, "sleep", lambda seconds: record.write_bytes(kept))
    lines = command("status", store, "--watch", "--json").stdout.splitlines()
    assert [json.loads(line)["pending"] for line in lines] == [8, 0]


def test_watching_ends_where_only_damage_is_left_and_survives_a_failed_request(
    command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "shards/record/c/1").write_bytes(b"xx")
    asked = []
    committed = ZarrBackend.committed

    def now_and_then(self: ZarrBackend) -> frozenset[int]:
        asked.append(None)
        if len(asked) == 1:
            raise StoreError("cannot list shards: 503 Slow Down")
        return committed(self)

    monkeypatch.setattr(ZarrBackend, "committed", now_and_then)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    result = command("status", store, "--watch")
    assert result.exit_code == 0
    assert "503 Slow Down; asking again" in result.stderr
    assert "1 commit records cannot be read; `annotate verify --repair`" in result.stdout
    monkeypatch.setattr("annotate.commands.label.status._PATIENCE", -1.0)
    asked.clear()
    result = command("status", store, "--watch")
    assert (result.exit_code, "error: cannot list shards" in result.stderr) == (1, True)
