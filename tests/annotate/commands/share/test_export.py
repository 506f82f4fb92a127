"""Are masks written for other tools, and nothing overwritten?"""

from __future__ import annotations

from pathlib import Path


def test_stores_are_exported(command, store: Path, tmp_path: Path) -> None:
    assert "30 pictures" in command("export", store, tmp_path / "masks", "--to", "png").stdout
    assert command("export", store, tmp_path / "masks", "--to", "png").exit_code == 1
