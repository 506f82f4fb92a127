"""Are labels described, and shown as pictures?"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from storage import open_store


def test_inspect_shows_what_is_there(command, store: Path, scene_folder: Path, tmp_path: Path) -> None:
    text = command("inspect", store)
    assert text.exit_code == 0, text.output
    for words in ("30, of which 30 are labelled", "8 x 8 locations", "test_resnet (random.safetensors)", "agreement"):
        assert words in text.stdout
    answer = json.loads(command("inspect", store, "--json").stdout)
    assert answer["labelled"] == 30
    sheet = tmp_path / "sheet.png"
    result = command("inspect", store, "--images", scene_folder / "images" / "val", "-o", sheet, "--count", 5)
    assert result.exit_code == 0, result.output
    with Image.open(sheet) as image:
        assert image.width > 500


def test_a_sheet_is_a_png_by_any_name_and_needs_a_place_and_pictures(
    command, store: Path, scene_folder: Path, tmp_path: Path
) -> None:
    images = scene_folder / "images/val"
    assert command("inspect", store, "--images", images, "-o", tmp_path / "sheet").exit_code == 0
    assert (tmp_path / "sheet").read_bytes().startswith(b"\x89PNG")
    for words, message in (
        (["--images", images, "-o", tmp_path / "no/sheet.png"], "cannot write"),
        (["--images", images, "-o", tmp_path], "cannot write"),
        (["--images", scene_folder, "-o", tmp_path / "s.png"], "--images has none of the 12 pictures to show, such as"),
        (["--images", tmp_path / "no", "-o", tmp_path / "s.png"], "there is no folder of pictures at"),
    ):
        result = command("inspect", store, *words)
        assert result.exit_code == 1, result.output
        assert message in result.stderr


def test_a_report_is_written_for_those_that_are_asked_for(
    command, store: Path, scene_folder: Path, tmp_path: Path
) -> None:
    words = ["inspect", store, "--images", scene_folder / "images/val", "--html", tmp_path / "r.html", "--count", 7]
    result = command(*words, "--sort", "entropy", "-o", tmp_path / "s.png")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"wrote {tmp_path / 's.png'}: 7 pictures",
        f"wrote {tmp_path / 'r.html'}: 7 pictures",
    ]
    assert "7 of 30 labelled pictures" in (tmp_path / "r.html").read_text()
    assert command("inspect", store, "--key", "x").exit_code == 2  # nothing to show it with
    assert command(*words[:-2], "--class", "dog").exit_code == 1
    assert "there is no class 'dog' among the 10" in command(*words[:-2], "--class", "dog").stderr
    key = open_store(store).keys[4]
    assert json.loads(command(*words[:-2], "--key", key, "--json").stdout)["rows"] == [4]
