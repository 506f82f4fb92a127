"""Is a collection that is unavailable distinguished from a picture that is missing?"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from annotate.errors import PictureError, SourceGoneError
from annotate.images import FolderReader
from annotate.images.waiting_reader import WaitingReader
from storage import Status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"a")
    return tmp_path / "images"


def test_one_picture_that_is_missing_is_missing_at_once(folder: Path) -> None:
    reader = WaitingReader(FolderReader(folder), patience=60)
    assert reader.read("a.jpg") == b"a"
    with pytest.raises(PictureError) as caught:
        reader.read("b.jpg")
    assert caught.value.status == Status.MISSING


@pytest.mark.parametrize("unmounted", [False, True])
def test_a_collection_that_comes_back_was_never_missing(folder: Path, unmounted: bool) -> None:
    """A mount that is gone leaves an empty folder; a disk that is gone leaves none."""
    away = folder.with_name("away")
    folder.rename(away)
    if unmounted:
        folder.mkdir()

    def back() -> None:
        if unmounted:
            folder.rmdir()
        away.rename(folder)

    threading.Timer(0.7, back).start()
    assert WaitingReader(FolderReader(folder), patience=30).read("a.jpg") == b"a"


def test_a_collection_that_stays_away_ends_the_job(folder: Path) -> None:
    folder.rename(folder.with_name("away"))
    with pytest.raises(
        SourceGoneError, match="the pictures at images have been unavailable for 0 seconds; nothing is lost"
    ):
        WaitingReader(FolderReader(folder), patience=0.1).read("a.jpg")
