"""Does a run leave labels, and say what has none?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage import Status, open_store
from tests.annotate.commands.conftest import MODEL


def bad_pictures(folder: Path) -> dict[str, Status]:
    """Pictures of every odd kind, and what shall become of each."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8))
    folder.mkdir(parents=True)
    (folder / "letters").mkdir()
    rgb.save(folder / "fine.jpg")
    data = (folder / "fine.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "letter.jpg").write_text("Dear Sir or Madam,")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(rng.integers(0, 65536, (40, 60)).astype(np.uint16)).save(folder / "sixteen bits.png")
    rgb.convert("P").save(folder / "palette.png")
    rgb.resize((1, 1)).save(folder / "pixel.png")
    rgb.save(folder / "animated.gif", save_all=True, append_images=[rgb.rotate(90), rgb.rotate(180)])
    rgb.save(folder / "letters" / "grüße 你好.v1.jpg")
    rgb.rotate(180).save(folder / "letters" / "grüße 你好.v2.jpg")
    rgb.save(folder / "letters" / "up..and..away.jpg")
    fine = ["fine.jpg", "cmyk.jpg", "sixteen bits.png", "palette.png", "pixel.png", "animated.gif"]
    fine += [f"letters/{name}.jpg" for name in ("grüße 你好.v1", "grüße 你好.v2", "up..and..away")]
    bad = ["truncated.jpg", "empty.jpg", "letter.jpg"]
    return {**dict.fromkeys(fine, Status.LABELLED), **dict.fromkeys(bad, Status.UNDECODABLE)}


def test_bad_pictures_are_named_rows_and_the_run_continues(command, checkpoint: Path, tmp_path: Path) -> None:
    expected = bad_pictures(tmp_path / "images")
    (tmp_path / "images" / "notes.txt").write_text("not a picture by its name")
    address = tmp_path / "labels.zarr"
    words = ["run", tmp_path / "images", address, *MODEL, "--checkpoint", checkpoint, "--rows-per-shard", 5]
    result = command(*words)
    assert result.exit_code == 3, result.output
    assert "9 of 12 pictures are labelled" in result.stdout
    assert "3 pictures could not be labelled:" in result.stdout
    assert "  empty.jpg: undecodable, the file is empty" in result.stdout
    assert "1 other files were skipped (not picture names)" in result.stdout
    assert f"annotate inspect {address} --images" in result.stdout
    opened = open_store(address)
    assert dict(zip(opened.keys, map(Status, opened.column("status").tolist()), strict=True)) == expected
    assert not (
        opened.read([opened.find("letters/grüße 你好.v1.jpg")]).classes
        == opened.read([opened.find("letters/grüße 你好.v2.jpg")]).classes
    ).all()
    # Again: nothing to do, and still not all is labelled.
    again = command(*words, "--json")
    assert again.exit_code == 3
    answer = json.loads(again.stdout)
    assert (answer["labelled_now"], answer["labelled"], len(answer["failures"])) == (0, 9, 3)
    verified = command("verify", address)
    assert verified.exit_code == 0, verified.output
    assert "9 pictures labelled, 3 could not be" in verified.stdout


def test_a_whole_run_is_done_and_shows_its_speed(command, scene_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    result = command("run", scene_folder / "images" / "val", tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint)
    assert result.exit_code == 0, result.output
    assert "labelled 30 pictures in" in result.stdout
    assert '"per_second"' in result.stderr
    assert "per_second" not in result.stdout


def test_the_bar_counts_this_runs_pictures(command, scene_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    words = ["run", scene_folder / "images/val", tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint]
    lines = [json.loads(line) for line in command(*words).stderr.splitlines()]
    said = [line.get("message") or "" for line in lines]
    assert sum(line.startswith("this process labels the pictures: 30 pictures take about ") for line in said) == 1
    first, *_, last = [line for line in lines if "done" in line]
    assert (first["done"], first["total"], last["done"], last["seconds_left"]) == (0, 30, 30, 0)
    assert last["per_second"] > 0
    (tmp_path / "s.zarr/shards/record/c/0").unlink()
    again = [json.loads(line) for line in command(*words).stderr.splitlines()]
    assert [line["done"] for line in again if "done" in line] == [22, 30]  # a shard has 8 pictures


def test_what_could_not_be_labelled_is_listed_in_a_file(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    images = Path(shutil.copytree(scene_folder / "images/val", tmp_path / "images"))
    broken = sorted(images.rglob("*.jpg"))[3]
    broken.write_bytes(b"no picture")
    words = ["run", images, tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint]
    result = command(*words)
    assert result.exit_code == 3
    assert f"pictures that could not be labelled are listed in {tmp_path / 's.zarr-failures.csv'}" in result.stdout
    lines = (tmp_path / "s.zarr-failures.csv").read_text().splitlines()
    assert lines[0] == "key,status,reason"
    assert lines[1].startswith(f"{broken.relative_to(images).as_posix()},undecodable,")
    assert command(*words, "--failures", tmp_path / "f.csv").exit_code == 3
    assert (tmp_path / "f.csv").read_text().splitlines() == lines
    result = command(*words, "--failures", tmp_path / "nowhere" / "f.csv")
    assert (result.exit_code, "there is no folder" in result.stderr) == (2, True)
    assert command(*words, "--shards", "0-2").exit_code in (0, 3)  # a part has a file of its own
    assert (tmp_path / "s.zarr-failures.csv").read_text().splitlines() == lines
    (tmp_path / "t.zarr-failures.csv").write_text("of another store")
    good = ["run", scene_folder / "images/val", tmp_path / "t.zarr", *MODEL, "--checkpoint", checkpoint]
    assert command(*good).exit_code == 0
    assert not (tmp_path / "t.zarr-failures.csv").exists()


def test_pictures_that_were_repaired_are_labelled_with_retry_failed(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    images = Path(shutil.copytree(scene_folder / "images/val", tmp_path / "images"))
    paths = sorted(images.rglob("*.jpg"))
    sound = paths[3].read_bytes()
    for path in (paths[3], paths[20]):
        path.write_bytes(b"no picture")
    words = ["run", images, tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint, "--rows-per-shard", "8"]
    first = command(*words)
    assert first.exit_code == 3
    assert "repair or replace these files, then run the same command with --retry-failed to label them" in first.stdout
    kept = {n: (tmp_path / f"s.zarr/shards/record/c/{n}").read_bytes() for n in range(4)}
    assert command("finalize", tmp_path / "s.zarr", "--source", "digits", "--licence", "MIT").exit_code == 0
    paths[3].write_bytes(sound)
    assert "there was nothing left to label" in command(*words).stdout
    again = command(*words, "--retry-failed")
    assert again.exit_code == 3, again.output
    assert "is no longer the published store" in again.stderr
    assert "of 2 pictures that failed before, 1 can be labelled now; the 1 shards that hold them" in again.stderr
    assert "29 of 30 pictures are labelled" in again.stdout
    found = {n: (tmp_path / f"s.zarr/shards/record/c/{n}").read_bytes() for n in range(4)}
    assert [n for n in range(4) if found[n] != kept[n]] == [0]
    assert open_store(tmp_path / "s.zarr").column("status").tolist().count(Status.UNDECODABLE) == 1
    assert command("verify", tmp_path / "s.zarr").exit_code == 0
    assert "there was nothing left to label" in command(*words, "--retry-failed").stdout


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
def test_retry_failed_takes_no_label_away(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path, suffix: str
) -> None:
    """One picture was mended, and another of its shard, which has a label, cannot be read now, as on a lost disk."""
    images = Path(shutil.copytree(scene_folder / "images/val", tmp_path / "images"))
    paths = sorted(images.rglob("*.jpg"))
    sound = paths[3].read_bytes()
    paths[3].write_bytes(b"no picture")
    store = tmp_path / f"s.{suffix}"
    words = ["run", images, store, *MODEL, "--checkpoint", checkpoint, "--rows-per-shard", "8"]
    assert command(*words).exit_code == 3
    before = open_store(store).record(0)
    paths[3].write_bytes(sound)
    paths[5].rename(tmp_path / "away.jpg")
    (images / paths[5].relative_to(images)).touch()
    again = command(*words, "--retry-failed")
    assert again.exit_code == 3, again.output
    assert "1 of its pictures have labels, and none could be made now, first for row 5" in again.output
    assert "Its labels stay as they are" in again.output
    assert open_store(store).record(0) == before
    (tmp_path / "away.jpg").rename(paths[5])
    assert command(*words, "--retry-failed").exit_code == 0
    assert (open_store(store).column("status") == Status.LABELLED).all()


def test_an_old_failures_file_that_cannot_be_replaced_is_a_line(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "s.zarr-failures.csv").mkdir()  # neither a file nor to be removed like one
    words = ["run", scene_folder / "images/val", tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint]
    result = command(*words)
    assert result.exit_code == 0, result.output
    assert "30 of 30 pictures are labelled" in result.stdout
    assert f"cannot write {tmp_path / 's.zarr-failures.csv'}" in result.stderr
    assert "--failures FILE names another file" in result.stderr


def test_a_failures_file_that_cannot_be_written_is_a_line(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    images = Path(shutil.copytree(scene_folder / "images/val", tmp_path / "images"))
    sorted(images.rglob("*.jpg"))[3].write_bytes(b"no picture")
    words = ["run", images, tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint, "--failures", "/dev/full"]
    result = command(*words)
    assert (result.exit_code, "29 of 30 pictures are labelled" in result.stdout) == (3, True), result.output
    assert "cannot write /dev/full: No space left on device; the same command with another" in result.stderr
    assert "are listed in" not in result.stdout
    result = command(*words, "--json")
    assert (result.exit_code, len(json.loads(result.stdout)["failures"])) == (3, 1)


@pytest.mark.parametrize("asked", [["--workers", "2"], ["--ray-address", "local"], ["--cpus-per-worker", "1"]])
def test_what_asks_for_ray_is_not_overruled(
    asked: list[str], command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    words = ["run", scene_folder / "images/val", tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint]
    said = command(*words, *asked).stderr
    assert "this process does all the work" in said  # the stand-in for Ray
    assert "this process labels" not in said


def test_a_part_is_labelled_alone(command, scene_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    words = ["run", scene_folder / "images/val", tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint, "--local"]
    words += ["--rows-per-shard", "8"]
    result = command(*words, "--shards", "1-2", "--json")
    assert (result.exit_code, json.loads(result.stdout)["pictures"]) == (0, 16)
    assert open_store(tmp_path / "s.zarr").pending() == [range(8), range(24, 30)]
    result = command(*words, "--shards", "3-4")
    assert (result.exit_code, "there are the shards 0 to 3, of 8 pictures each" in result.stderr) == (1, True)
    for wrong in ("b", "3-1", "-1", "1-"):
        assert "as in 0-311" in command(*words, f"--shards={wrong}").stderr
    new = ["run", words[1], tmp_path / "new.zarr", *words[3:]]
    assert command(*new, "--shards", "99-120").exit_code == 1
    assert not (tmp_path / "new.zarr").exists()
    result = command(*words, "--workers", "2")
    assert (result.exit_code, "--local works in this process alone" in result.stderr) == (2, True)


def test_names_are_kept_in_the_store(command, scene_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"digit {n}\n" for n in range(10)))
    words = ["run", scene_folder / "images/val", tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint]
    assert command(*words, "--names", names).exit_code == 0
    assert open_store(tmp_path / "s.zarr").schema.class_names[3] == "digit 3"
    assert "digit 3" in command("inspect", tmp_path / "s.zarr").stdout
    assert command(*words).exit_code == 0
    names.write_text("".join(f"other {n}\n" for n in range(10)))
    result = command(*words, "--names", names)
    assert result.exit_code == 1
    assert "class names: class 0 is 'digit 0' in the store, and 'other 0' in this run; `annotate names" in result.stderr
    assert command("names", tmp_path / "s.zarr", "--remove").exit_code == 0
    result = command(*words, "--names", names)
    assert (result.exit_code, "the store has no names, this run has 10; `annotate names" in result.stderr) == (1, True)
    names.write_text("one\n")
    result = command(*words[:2], tmp_path / "t.zarr", *words[3:], "--names", names)
    assert (result.exit_code, "1 class names were given, but the model has 10 classes" in result.stderr) == (1, True)


def test_terminals_are_not_steered_by_names(command, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "\x1b[31mred\x1b]0;title\x07.jpg").write_bytes(b"")
    result = command("run", tmp_path / "images", tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint)
    assert result.exit_code == 3
    assert "red" in result.stdout
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


def test_the_help_of_run_is_one_screen(command) -> None:
    assert len(command("run", "--help").stdout.splitlines()) <= 38  # three of them are its example
