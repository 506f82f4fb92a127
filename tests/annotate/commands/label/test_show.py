"""Does one command show what an annotator sees on a picture, without a store?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.annotate.commands.conftest import MODEL
from tests.annotate.images.odd_pictures import tiff


@pytest.fixture
def words(checkpoint: Path) -> list[object]:
    return [*MODEL, "--checkpoint", checkpoint]


@pytest.fixture
def photo(scene_folder: Path, tmp_path: Path) -> Path:
    first = sorted((scene_folder / "images/val").rglob("*.jpg"))[0]
    return Path(shutil.copy(first, tmp_path / "photo.jpg"))


def test_a_picture_is_shown_with_its_classes_and_written_where_it_is_asked(
    command, photo: Path, words: list[object], tmp_path: Path
) -> None:
    result = command("show", photo, *words, "-o", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    title, line, written = result.stdout.splitlines()
    assert title == "test_resnet, 8 x 8 locations, dense head exact"
    assert line.startswith(f"{photo}: ")
    assert written == f"wrote {tmp_path / 'out.png'}"
    assert {path.name for path in tmp_path.iterdir()} == {"photo.jpg", "out.png"}
    with Image.open(tmp_path / "out.png") as sheet:
        assert sheet.width > 500


def test_its_classes_are_those_that_a_run_would_store(
    command, photo: Path, words: list[object], tmp_path: Path
) -> None:
    answer = json.loads(command("show", photo, *words, "--json").stdout)
    ((shown,), failures) = answer["pictures"], answer["failures"]
    assert failures == []
    (tmp_path / "images").mkdir()
    shutil.copy(photo, tmp_path / "images")
    assert command("run", tmp_path / "images", tmp_path / "s.zarr", *words, "--local").exit_code == 0
    from annotate.inspect.palette import shares
    from storage import open_store

    stored = shares(open_store(tmp_path / "s.zarr").read(range(1))[0])
    best = next(iter(stored))
    assert shown["classes"][0]["class"] == str(best)
    assert shown["classes"][0]["part"] == pytest.approx(stored[best], abs=0.01)


def test_white_is_that_of_a_run(command, words: list[object], tmp_path: Path) -> None:
    """These pictures are none without it: their files do not say which value is white."""
    from annotate.inspect.palette import shares
    from storage import open_store

    images, white = tmp_path / "images", 4095
    images.mkdir()
    ramp = np.linspace(0, white, 6400, dtype=np.float32).reshape(80, 80)
    for number, deep in enumerate((ramp, ramp.T)):
        (images / f"{number}.tif").write_bytes(tiff(deep))
    answer = json.loads(command("show", images, *words, "--white", white, "--json").stdout)
    assert answer["failures"] == []
    assert command("run", images, tmp_path / "s.zarr", *words, "--white", white, "--local").exit_code == 0
    for shown, label in zip(answer["pictures"], open_store(tmp_path / "s.zarr").read(range(2)), strict=True):
        best, part = next(iter(shares(label).items()))
        assert shown["classes"][0] == {"class": str(best), "part": pytest.approx(part, abs=0.01)}


def test_a_terminal_shows_the_picture_beside_its_map(
    command, photo: Path, words: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    import annotate.inspect

    assert "▀" not in command("show", photo, *words).stdout
    monkeypatch.setattr(annotate.inspect, "can_show", lambda: True)
    assert "▀" in command("show", photo, *words).stdout


def test_several_pictures_and_the_first_of_a_folder(
    command, photo: Path, scene_folder: Path, words: list[object]
) -> None:
    result = command("show", photo, scene_folder / "images/val", *words, "--count", 3, "--json")
    keys = [each["key"] for each in json.loads(result.stdout)["pictures"]]
    inside = sorted(
        path.relative_to(scene_folder / "images/val").as_posix() for path in scene_folder.glob("images/val/*/*")
    )
    assert keys == [str(photo), *inside[:3]]


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(
    command, photo: Path, words: list[object], tmp_path: Path
) -> None:
    (tmp_path / "letter.jpg").write_text("Dear Sir or Madam,")
    result = command("show", tmp_path / "letter.jpg", photo, *words)
    assert result.exit_code == 3, result.output
    assert f"{tmp_path / 'letter.jpg'}: undecodable, not a picture of a known type" in result.stdout
    assert f"{photo}: " in result.stdout


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://example.org/cat.jpg", "pictures are read from local files only"),
        ("s3://bucket/cats/cat.jpg", "pictures are read from local files only"),
        ("nothing.jpg", "there is no folder of pictures at nothing.jpg"),
    ],
)
def test_an_address_that_cannot_be_shown_is_refused_with_the_reason(
    command, words: list[object], address: str, message: str
) -> None:
    result = command("show", address, *words)
    assert result.exit_code == 1
    assert message in result.stderr
