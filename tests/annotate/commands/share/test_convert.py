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


def test_a_light_copy_is_smaller_valid_and_says_what_was_dropped(command, store: Path, tmp_path: Path) -> None:
    words = ["--k", 3, "--coarse", 8, "--grid", "4x4"]
    result = command("convert", store, tmp_path / "light.zarr", *words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"pictures": 30, "lightened_now": 30, "pending": 0}
    schema = open_store(tmp_path / "light.zarr").schema
    assert (schema.k, schema.grid) == (3, (4, 4))
    assert "averaged by area" in schema.provenance["light_from"][0]["what"]
    assert command("verify", tmp_path / "light.zarr", "--deep").exit_code == 0
    size = sum((tmp_path / "light.zarr/scores/c" / f"{n}/0/0/0").stat().st_size for n in range(4))
    assert size < sum((store / "scores/c" / f"{n}/0/0/0").stat().st_size for n in range(4)) / 2
    for grid in ("4", "0x4", "ax4"):
        result = command("convert", store, tmp_path / "x.zarr", "--grid", grid)
        assert (result.exit_code, "such as 9x9" in result.stderr) == (2, True)
    result = command("convert", store, tmp_path / "x", "--to", "tokenlabeling", "--k", 3)
    assert (result.exit_code, "without --from and --to" in result.stderr) == (2, True)
