"""Does the cache stay below its limit, without what is in use?"""

from __future__ import annotations

import os
import time
from pathlib import Path

from storage.remote.cache import Room, touch


def write(path: Path, *, used: float, count: int = 100) -> Path:
    """A file of so many bytes, used so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(count))
    os.utime(path, (time.time() - used, 1.0))
    return path


def test_what_was_used_least_recently_is_removed_until_there_is_room(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{n % 2}/{n}", used=1000 - n) for n in range(10)]
    Room(tmp_path, 1000).add(100)
    assert all(path.exists() for path in files)
    Room(tmp_path, 599).add(100)
    assert [path.exists() for path in files] == [False] * 5 + [True] * 5


def test_what_was_just_used_stays_even_if_there_is_no_room(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", used=1000), write(tmp_path / "new", used=2000)
    touch(new)
    assert new.stat().st_mtime == 1.0
    Room(tmp_path, 10).add(100)
    assert (old.exists(), new.exists()) == (False, True)


def test_room_is_made_again_when_more_was_added(tmp_path: Path) -> None:
    room = Room(tmp_path, 500)
    for n in range(8):
        write(tmp_path / str(n), used=1000 - n)
        room.add(100)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 500
    assert (tmp_path / "7").exists()
    assert not (tmp_path / "0").exists()
