"""Does a store say how far it is?"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from storage import StoreError, create_store, open_store
from storage.zarr_backend.backend import ZarrBackend
from tests.storage.mounts.memory_disk import memory_disk


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


def test_watching_a_store_that_was_deleted_asks_again_and_then_ends(
    command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "shards/record/c/1").unlink()
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += 100
        if store.exists():
            shutil.rmtree(store)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    result = command("status", store, "--watch", "--json")
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 1)
    assert result.stderr.count("run the same command to continue; asking again") == 3
    assert f"error: the store {store} is gone: its folder, or its own header in it, is not there" in result.stderr


def test_watching_ends_at_once_where_there_is_another_store(
    command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "shards/record/c/1").unlink()

    def sleep(seconds: float) -> None:
        schema = open_store(store).schema
        shutil.rmtree(store)
        create_store(store, schema, ["other.jpg"])

    monkeypatch.setattr(time, "sleep", sleep)
    result = command("status", store, "--watch")
    assert (result.exit_code, "asking again" in result.stderr) == (1, False)
    assert f"error: another store is at {store} now" in result.stderr


def test_a_page_for_a_browser_is_written_at_each_reading_and_the_last_stays(
    command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, page = store / "shards/record/c/1", tmp_path / "status.html"
    kept, pages = record.read_bytes(), []
    record.unlink()

    def sleep(seconds: float) -> None:
        pages.append(page.read_text())
        record.write_bytes(kept)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265")
    assert command("status", store, "--watch", "--every", "7", "--html", page).exit_code == 0
    (first,), last = pages, page.read_text()
    assert ('content="7"' in first, "73.3<small>" in first) == (True, True)
    assert ('http-equiv="refresh"' in last, "100<small>" in last) == (False, True)
    assert '<a href="http://head:8265">' in last
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("status")] == ["status.html"]


def test_a_reader_of_the_page_never_finds_a_part_of_it(
    command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is replaced by a whole one: where the new one cannot take its name, the old one stays as it was."""
    page = tmp_path / "status.html"
    page.write_text("before")

    def full(*names: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.files.atomic_file.os.replace", full)
    result = command("status", store, "--html", page)
    assert (result.exit_code, page.read_text()) == (1, "before")
    assert f"cannot write {page}: No space left on device" in result.stderr


def test_watching_goes_on_while_the_page_cannot_be_written(
    command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is full for a moment: a line says so, and the page is written at the next reading."""
    record, page = store / "shards/record/c/1", tmp_path / "pages/status.html"
    page.parent.mkdir()
    kept, pages = record.read_bytes(), []
    record.unlink()
    with memory_disk(page.parent, "4k"):

        def sleep(seconds: float) -> None:
            pages.append(page.exists())
            if len(pages) == 2:
                subprocess.run(["mount", "-o", "remount,size=1m", page.parent], check=True)
            if len(pages) == 3:
                record.write_bytes(kept)

        monkeypatch.setattr(time, "sleep", sleep)
        result = command("status", store, "--watch", "--json", "--html", page)
        assert (result.exit_code, pages, len(result.stdout.splitlines())) == (0, [False, False, True], 4)
        words = f"cannot write {page}: No space left on device; trying again at the next reading"
        assert result.stderr.count(words) == 2
        assert "100<small>" in page.read_text()


def test_a_page_in_no_folder_is_refused_before_anything_is_read(command, tmp_path: Path) -> None:
    result = command("status", tmp_path / "nothing.zarr", "--html", tmp_path / "no" / "status.html")
    assert (result.exit_code, "there is no folder" in result.stderr) == (2, True)


def test_the_page_of_a_store_in_hdf5_files_is_the_same(command, store: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    assert command("convert", store, tmp_path / "copy.h5").exit_code == 0
    assert command("status", tmp_path / "copy.h5", "--html", tmp_path / "status.html").exit_code == 0
    assert (tmp_path / "status.html").read_text().count('<i class="finished" title="shard ') == 4
