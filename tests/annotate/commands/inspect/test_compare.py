"""Are two stores compared, in figures and in pictures?"""

from __future__ import annotations

import json
from pathlib import Path


def test_stores_are_compared(command, store: Path, scene_folder: Path, tmp_path: Path) -> None:
    images = scene_folder / "images/val"
    outputs = ["-o", tmp_path / "c.png", "--html", tmp_path / "c.html"]
    result = command("compare", store, store, "--images", images, *outputs)
    assert result.exit_code == 0, result.output
    assert "30 pictures are labelled in both" in result.stdout
    assert (tmp_path / "c.png").is_file()
    assert (tmp_path / "c.html").is_file()
    assert json.loads(command("compare", store, store, "--json").stdout)["agreement"] == 1
    assert command("compare", store, store, "-o", tmp_path / "c.png").exit_code == 2
