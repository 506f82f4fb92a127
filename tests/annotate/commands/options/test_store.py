"""Is it said that a store is unfinished?"""

from __future__ import annotations

from pathlib import Path


def test_what_is_unfinished_is_said_by_all_commands_that_read(command, store: Path, tmp_path: Path) -> None:
    (store / "shards/record/c/1").unlink()
    for words in (["audit", store], ["query", store, "--class", "3"], ["compare", store, store]):
        assert "is unfinished: 8 pictures are not labelled yet, and are left out" in command(*words).stderr
    result = command("export", store, tmp_path / "out", "--to", "coco")
    assert "is unfinished: 8 pictures" in result.stderr
    assert "the masks of 22 pictures" in result.stdout
