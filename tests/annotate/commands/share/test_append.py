"""Do new pictures get labels, and the others keep theirs to the bit?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from storage import open_store
from tests.annotate.commands.conftest import MODEL


def test_only_new_pictures_are_labelled_and_the_result_is_that_of_one_run(
    command, store: Path, checkpoint: Path, scene_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    images = tmp_path / "images"
    shutil.copytree(scene_folder / "images/val", images)
    extra = sorted((scene_folder / "images/train").rglob("*.jpg"))[:3]
    for path in extra:
        target = images / path.parent.name / f"0new-{path.name}"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    words = [images, tmp_path / "more.zarr", *MODEL, "--checkpoint", checkpoint]
    result = command("append", store, *words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"pictures": 33, "gathered_now": 33, "pending": 0}
    assert "3 pictures are new; 30 keep their labels" in result.stderr
    assert sorted(path.name for path in tmp_path.glob("more*")) == ["more.zarr"]
    more, before = open_store(tmp_path / "more.zarr"), open_store(store)
    assert list(more.keys)[:30] == list(before.keys)
    assert all("0new-" in key for key in list(more.keys)[30:])
    for name in ("classes/c/0/0/0/0", "scores/c/2/0/0/0", "boxes/c/1/0"):  # whole shards have the same bytes
        assert (tmp_path / "more.zarr" / name).read_bytes() == (store / name).read_bytes()
    whole = command("run", images, tmp_path / "whole.zarr", *MODEL, "--checkpoint", checkpoint, "--rows-per-shard", 8)
    assert whole.exit_code == 0, whole.output
    expected = open_store(tmp_path / "whole.zarr")
    for key in more.keys:
        assert (more[more.find(key)].classes == expected[expected.find(key)].classes).all()
    assert command("verify", tmp_path / "more.zarr", "--deep").exit_code == 0


def test_other_settings_and_a_folder_without_new_pictures_are_refused(
    command, store: Path, checkpoint: Path, scene_folder: Path, tmp_path: Path
) -> None:
    words = [scene_folder / "images/val", tmp_path / "more.zarr", *MODEL, "--checkpoint", checkpoint]
    result = command("append", store, *words)
    assert (result.exit_code, "there is nothing to append" in result.stderr) == (1, True), result.output
    result = command("append", store, *words, "--flip")
    assert (result.exit_code, "recipe.flip: the store has false, this run has true" in result.stderr) == (1, True)
    assert not (tmp_path / "more.zarr").exists()


def test_a_store_with_appended_pictures_is_continued_and_its_failures_are_tried_again(
    command, store: Path, checkpoint: Path, scene_folder: Path, tmp_path: Path
) -> None:
    """Its rows are not in the order of the folder, in which the new pictures come first."""
    images = tmp_path / "images"
    shutil.copytree(scene_folder / "images/val", images)
    folder = next(path for path in sorted(images.iterdir()) if path.is_dir())
    sound = next(folder.glob("*.jpg")).read_bytes()
    (folder / "0new.jpg").write_bytes(sound)
    (folder / "0broken.jpg").write_bytes(b"broken")
    more, words = tmp_path / "more.zarr", (*MODEL, "--checkpoint", checkpoint)
    assert command("append", store, images, more, *words).exit_code == 0
    before = open_store(more).read(range(30))
    again = command("run", images, more, *words, "--local")
    assert (again.exit_code, f"{folder.name}/0broken.jpg: undecodable" in again.stdout) == (3, True), again.output
    (folder / "0broken.jpg").write_bytes(sound)
    again = command("run", images, more, *words, "--local", "--retry-failed")
    assert again.exit_code == 0, again.output
    new, found = open_store(more), {}
    for name in ("0new", "0broken"):
        found[name] = new[new.find(f"{folder.name}/{name}.jpg")]
    assert (found["0new"].classes == found["0broken"].classes).all()
    assert (new.read(range(30)).classes == before.classes).all()
    assert command("verify", more, "--deep").exit_code == 0
    assert "32 of 32 pictures labelled" in command("status", more).stdout
    (folder / "0new.jpg").rename(folder / "0other.jpg")  # as many pictures, of other keys
    other = command("run", images, more, *words, "--local")
    assert (other.exit_code, "keys: " in other.stderr) == (1, True)
