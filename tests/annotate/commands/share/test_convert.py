"""Do labels move between backends and trees?"""

from __future__ import annotations

import json
from pathlib import Path

from storage import open_store
from tests.conftest import contents


def test_labels_move_between_backends_and_trees(command, store: Path, scene_folder: Path, tmp_path: Path) -> None:
    assert command("convert", store, tmp_path / "labels.h5").exit_code == 0
    result = command("convert", tmp_path / "labels.h5", tmp_path / "back.zarr")
    assert (result.exit_code, '"done": 30, "total": 30' in result.stderr) == (0, True), result.output
    assert contents(tmp_path / "back.zarr") == contents(store)
    again = command("convert", tmp_path / "labels.h5", tmp_path / "back.zarr", "--json")
    assert json.loads(again.stdout)["copied_now"] == 0
    result = command("convert", store, tmp_path / "tree", "--to", "tokenlabeling")
    assert result.exit_code == 0, result.output
    words = ["convert", tmp_path / "tree", tmp_path / "logits.zarr", "--from", "tokenlabeling"]
    needs = command(*words)
    assert (needs.exit_code, "needs --images and --geometry" in needs.stderr) == (2, True)
    images = scene_folder / "images/val"
    result = command(*words, "--images", images, "--geometry", "squash", "--classes", 10)
    assert result.exit_code == 0, result.output
    assert open_store(tmp_path / "logits.zarr").schema.scores == "logit"
    assert (
        open_store(tmp_path / "logits.zarr").read([0]).classes[..., 0] == open_store(store).read([0]).classes[..., 0]
    ).all()
    assert command("verify", tmp_path / "logits.zarr", "--deep").exit_code == 0
