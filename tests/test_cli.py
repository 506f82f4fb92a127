"""What does a person at a terminal see, and a script by exit code?"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from click.testing import CliRunner, Result
from PIL import Image
from torchvision.datasets import ImageFolder

import annotate.ray_workers
from annotate.progress import reporting
from annotate.workers import LocalWorkers
from cli import main
from storage import Progress, Schema, Status, open_store
from tests import s3
from tests.conftest import MODEL_KWARGS, contents
from tokenlabel import Crops, LabeledImages, folder_keys

MODEL = ["--model", "test_resnet", "--input-size", "64"]
WEIGHTS = ["--checkpoint", "{checkpoint}"]
MODEL += [word for key, value in MODEL_KWARGS.items() for word in ("--model-kwarg", f"{key}={value}")]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """The command in this process, with LocalWorkers: what Ray adds is tested in test_run.py."""
    monkeypatch.setattr(annotate.ray_workers, "RayWorkers", lambda *_, **__: LocalWorkers())

    def call(*words: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words])

    return call


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished store, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "labels.zarr"))


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


def test_bad_pictures_are_named_rows_and_the_run_goes_on(command, checkpoint: Path, tmp_path: Path) -> None:
    expected = bad_pictures(tmp_path / "images")
    (tmp_path / "images" / "notes.txt").write_text("not a picture by its name")
    address = tmp_path / "labels.zarr"
    words = ["run", tmp_path / "images", address, *MODEL, "--checkpoint", checkpoint, "--rows-per-shard", 5]
    result = command(*words)
    assert result.exit_code == 3, result.output
    assert "9 of 12 pictures are labelled" in result.stdout
    assert "3 pictures could not be labelled:" in result.stdout
    assert "  empty.jpg: undecodable, the file is empty" in result.stdout
    assert "1 other files are no pictures by their names" in result.stdout
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


def test_status_tells_how_far_a_store_is(command, store: Path) -> None:
    (store / "shards/record/c/1").unlink()
    result = command("status", store)
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "22 of 30 pictures labelled, 0 could not be, 8 pending (73.3 % done)\n3 of 4 shards"
    )
    assert re.search(r"22 pictures, .* a second", result.stdout)  # of the one worker
    answer = json.loads(command("status", store, "--json").stdout)
    known = {"pictures": 30, "labelled": 22, "failed": 0, "pending": 8, "shards": 4, "shards_pending": 1, "retried": 0}
    assert answer.items() >= {"store": str(store), **known}.items()
    ((_, worker),) = answer["workers"].items()
    assert worker["pictures"] == 22


def test_verify_tells_damage_by_shard_and_exit_code(command, store: Path) -> None:
    assert command("verify", store).exit_code == 0
    (store / "shards/record/c/2").unlink()
    pending = command("verify", store, "--json")
    assert (pending.exit_code, json.loads(pending.stdout)["state"]) == (3, "pending")
    path = store / "scores/c/1/0/0/0"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    damaged = command("verify", store)
    assert damaged.exit_code == 4
    assert "rows 8 to 16 are damaged:" in damaged.stdout
    assert "4 shards: 2 ok, 1 damaged, 1 pending" in damaged.stdout
    answer = json.loads(command("verify", store, "--json").stdout)
    assert [shard["state"] for shard in answer["shards"]] == ["ok", "damaged", "pending", "ok"]


def test_verify_tells_damage_that_is_in_no_shard(command, store: Path) -> None:
    (store / "keys/c/0").write_bytes(b"nonsense")
    for words in ((), ("--json",)):
        result = command("verify", store, *words)
        assert result.exit_code == 4, result.output


@pytest.mark.parametrize("name", ["zarr.json", "classes/zarr.json", "keys/zarr.json", "shards/record/zarr.json"])
def test_no_flipped_bit_of_metadata_is_a_traceback_or_a_wrong_label(command, store: Path, name: str) -> None:
    path = store / name
    sound = path.read_bytes()
    good = open_store(store).read(range(30))
    for place in range(2, len(sound), 23):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 2]) + sound[place + 1 :])
        result = command("verify", store)
        assert result.exit_code in (0, 1, 4), (place, result.output)
        if result.exit_code == 0:
            assert (open_store(store).read(range(30)).classes == good.classes).all(), place
    path.write_bytes(sound)
    assert command("verify", store).exit_code == 0


def test_verify_finds_changed_targets_and_a_changed_schema(command, store: Path) -> None:
    schema = (store / "zarr.json").read_bytes()
    (store / "zarr.json").write_bytes(schema.replace(b'"bilinear"', b'"bicubic"'))
    result = command("verify", store)
    assert (result.exit_code, "the header of" in result.stdout) == (4, True), result.output
    (store / "zarr.json").write_bytes(schema)
    (store / "targets/c/0").unlink()
    result = command("verify", store)
    assert (result.exit_code, "the targets of" in result.stdout) == (4, True), result.output


def test_damage_is_mended_as_verify_says(
    command, store: Path, finished: Path, scene_folder: Path, checkpoint: Path
) -> None:
    (store / "classes/c/1/0/0/0").write_bytes(b"nonsense")
    result = command("verify", store)
    assert f"`annotate verify {store} --repair` mends what it can, and makes damaged shards pending" in result.stdout
    result = command("verify", store, "--repair")
    assert result.exit_code == 3, result.output
    assert f"Now run `annotate run IMAGES {store} --model test_resnet …` again" in result.stdout
    assert command("status", store, "--json").stdout.count('"shards_pending": 1') == 1
    again = command("run", scene_folder / "images/val", store, *MODEL, "--checkpoint", checkpoint)
    assert again.exit_code == 0, again.output
    assert command("verify", store).exit_code == 0
    assert contents(store) == contents(finished)


def test_the_bar_counts_this_runs_pictures(command, scene_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    words = ["run", scene_folder / "images/val", tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint]
    lines = [json.loads(line) for line in command(*words).stderr.splitlines()]
    assert "this process does all the work" in [line.get("message") for line in lines]
    first, *_, last = [line for line in lines if "done" in line]
    assert (first["done"], first["total"], last["done"], last["seconds_left"]) == (0, 30, 30, 0)
    assert last["per_second"] > 0
    (tmp_path / "s.zarr/shards/record/c/0").unlink()
    again = [json.loads(line) for line in command(*words).stderr.splitlines()]
    assert [line["done"] for line in again if "done" in line] == [29, 30]


def test_a_bucket_that_cannot_be_reached_is_one_message_and_no_folder_of_its_name(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in s3.environment("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    images = scene_folder / "images/val"
    result = command("run", images, "s3://bucket/labels.zarr", *MODEL, "--checkpoint", checkpoint)
    assert result.exit_code == 1
    assert "cannot read zarr.json of s3://bucket/labels.zarr" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_is_a_png_by_any_name_and_needs_a_place_and_pictures(
    command, store: Path, scene_folder: Path, tmp_path: Path
) -> None:
    images = scene_folder / "images/val"
    assert command("inspect", store, "--images", images, "-o", tmp_path / "sheet").exit_code == 0
    assert (tmp_path / "sheet").read_bytes().startswith(b"\x89PNG")
    for words, message in (
        (["--images", images, "-o", tmp_path / "no/sheet.png"], "cannot write"),
        (["--images", images, "-o", tmp_path], "cannot write"),
        (["--images", tmp_path / "no", "-o", tmp_path / "s.png"], "there is no folder of pictures at"),
    ):
        result = command("inspect", store, *words)
        assert result.exit_code == 1, result.output
        assert message in result.stderr


def test_inspect_tells_what_is_there(command, store: Path, scene_folder: Path, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "{tmp}/nothing", "{tmp}/s.zarr", "--model", "resnet18"], 1, "there is no folder of pictures at"),
        (["run", "{images}", "{tmp}/s.zarr", "--model", "resnet81"], 1, "did you mean .*resnet18"),
        (["run", "{images}", "/proc/s.zarr", *MODEL, *WEIGHTS], 1, "cannot write zarr.json of /proc"),
        (["run", "{images}", "{tmp}/other.zarr", "--model", "resnet18"], 1, "not a store of label maps"),
        (["run", "{images}", "{store}", *MODEL, *WEIGHTS, "-k", "3"], 1, "k: the store has 5, this run"),
        (["run", "{images}", "{tmp}/s.zarr", "--model", "vit_tiny_patch16_224", *WEIGHTS], 1, "fit"),
        (["run", "{images}", "{store}", *MODEL, *WEIGHTS, "--compile"], 1, "has false, this .* leave --compile"),
        (["run", "{images}", "{tmp}/s.zarr", *MODEL, *WEIGHTS, "-k", "11"], 1, "keep the 11 best .* it has 10"),
        (["run", "{images}", "{tmp}/s.zarr"], 2, "Missing option '--model'"),
        (["run", "{images}", "{tmp}/s.zarr", "--model", "resnet18", "--input-size", "big"], 2, "a number of pixels"),
        (["run", "{images}", "{tmp}/s.zarr", "--model", "resnet18", "--model-kwarg", "x"], 2, "give KEY=VALUE"),
        (["run", "{images}", "{tmp}/s.zarr", "--model", "resnet18", "--scales", "a,1"], 2, "give numbers with commas"),
        (["status", "{tmp}/nothing"], 1, "there is no store at"),
        (["verify", "{tmp}/other.zarr"], 1, "not a store of label maps"),
        (["inspect", "{store}", "-o", "{tmp}/sheet.png"], 2, "needs --images"),
        (["inspect", "{tmp}"], 1, "there is no store at"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_clear_message(
    command,
    words: list[str],
    code: int,
    message: str,
    finished: Path,
    scene_folder: Path,
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    zarr.create_group(tmp_path / "other.zarr")
    names = {"tmp": tmp_path, "images": scene_folder / "images/val", "store": finished, "checkpoint": checkpoint}
    result = command(*(word.format(**names) if "{" in word else word for word in words))
    assert result.exit_code == code, result.output
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.output


def test_pretrained_weights_without_a_network_are_a_clear_message(
    scene_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub's own switch for "no network", so that the test is the same with and without one."""
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "cli",
            "run",
            str(scene_folder / "images/val"),
            str(tmp_path / "s.zarr"),
            "--model",
            "resnet18",
        ],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "its pretrained weights" in result.stderr
    assert "give the file with --checkpoint FILE" in result.stderr
    assert "Traceback" not in result.stderr


def test_terminals_are_not_steered_by_names(command, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "\x1b[31mred\x1b]0;title\x07.jpg").write_bytes(b"")
    result = command("run", tmp_path / "images", tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint)
    assert result.exit_code == 3
    assert "red" in result.stdout
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


@pytest.mark.parametrize("name", ["run", "calibrate"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flip = 3", "flip = 3; expected is true or false"),
        ("compile = 'yes'", 'compile = "yes"; expected is true or false'),
        ("temperature = [1, 2]", r"temperature = \[1, 2\]; expected is a number"),
        ("temperature = true", "temperature = true; expected is a number"),
        ("top-k = 0", "top-k = 0; expected is a whole number, 1 or more"),
        ("batch_size = 8.0", "batch_size = 8.0; expected is a whole number, 1 or more"),
        ("workers = '2'", 'workers = "2"; expected is a whole number, 1 or more'),
        ("head = 'nose'", 'head = "nose"; expected is one of "local", "frozen"'),
        ("model = ['resnet18', 3]", r'model = \["resnet18", 3\]; expected is text, or a list of such'),
        ("checkpoint = 1979-05-27", 'checkpoint = "1979-05-27"; expected is text, or a list of such'),
        ("model-kwarg = {a = 1}", 'model-kwarg = {"a": 1}; expected is KEY=VALUE, for example output_stride=8, or a'),
        ("input-size = 'big'", 'input-size = "big"; expected is a number of pixels, 224, or height and width, 192x256'),
        ("scales = [[1.0]]", r"scales = \[\[1.0\]\]; expected is numbers with commas between, as in 0.8,1.0,1.2"),
        ("json = 1", "json, but the settings are batch-size, checkpoint, "),
        ("[run]\nflip = true", "run, but the settings are batch-size, checkpoint, "),
    ],
)
def test_a_setting_of_another_type_is_refused_with_its_file_and_what_is_expected(
    command, tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / "a.toml").write_text(text)
    words = [name, tmp_path, *[tmp_path / "s.zarr"][: name == "run"], "--config", tmp_path / "a.toml"]
    result = command(*words)
    assert result.exit_code == 2, result.output
    assert re.search(rf"Error: {re.escape(str(tmp_path))}/a.toml has {message}", result.stderr), result.stderr
    assert "Traceback" not in result.output


def test_settings_of_a_file_are_those_of_the_options_and_the_command_line_goes_before_them(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    settings = [tmp_path / "a.toml", tmp_path / "b.toml"]
    settings[0].write_text("flip = true\nscales = [1, 1.5]\ntop-k = 3\ntemperature = 2\ninput_size = [96]\n")
    settings[1].write_text("top-k = 2\nscales = '1.0,2.0'\ninput-size = '64x64'\n")

    def made(*words: object) -> Schema:
        address = tmp_path / f"{len(list(tmp_path.iterdir()))}.zarr"
        kwargs = [word for key, value in MODEL_KWARGS.items() for word in ("--model-kwarg", f"{key}={value}")]
        model = ["--model", "test_resnet", "--checkpoint", checkpoint, *kwargs]
        result = command("run", scene_folder / "images/val", address, *model, *words)
        assert result.exit_code == 0, result.output
        return open_store(address).schema

    one = made("--config", settings[0])
    assert (one.recipe["flip"], one.recipe["scales"], one.recipe["temperature"]) == (True, [1.0, 1.5], 2.0)
    assert (one.k, one.recipe["networks"][0]["input_size"]) == (3, [96, 96])
    two = made("--config", settings[0], "--config", settings[1], "--no-flip", "--temperature", "1")
    assert (two.recipe["flip"], two.recipe["scales"], two.recipe["temperature"]) == (False, [1.0, 2.0], 1.0)
    assert (two.k, two.recipe["networks"][0]["input_size"]) == (2, [64, 64])


def test_calibrate_takes_a_file_of_run_and_run_refuses_what_only_calibrate_knows(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "a.toml"
    settings.write_text("temperature = 7.0\nworkers = 1\ntop-k = 3\ncompile = false\nrows-per-shard = 8\n")
    words = ["calibrate", scene_folder / "images/val", *MODEL, "--checkpoint", checkpoint, "--count", 8, "--json"]
    result = command(*words, "--config", settings)
    assert result.exit_code == 0, result.output
    assert result.stdout == command(*words).stdout  # what is fitted does not hang on what was
    settings.write_text("count = 8\n")
    assert command(*words, "--config", settings).exit_code == 0
    result = command("run", scene_folder / "images/val", tmp_path / "s.zarr", *MODEL, "--config", settings)
    assert (result.exit_code, "a.toml has count, but the settings are" in result.stderr) == (2, True), result.output


def test_the_help_of_run_is_one_screen(command) -> None:
    assert len(command("run", "--help").stdout.splitlines()) <= 34


def test_help_documents_the_exit_codes(command) -> None:
    text = command("--help").stdout
    for line in ("0    done", "1    error", "2    wrong usage", "3    done as far", "4    verify", "130  interrupted"):
        assert line in text
    for name in main.commands:
        assert command(name, "--help").exit_code == 0


def test_what_could_not_be_labelled_is_listed_in_a_file(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    images = Path(shutil.copytree(scene_folder / "images/val", tmp_path / "images"))
    broken = sorted(images.rglob("*.jpg"))[3]
    broken.write_bytes(b"no picture")
    words = ["run", images, tmp_path / "s.zarr", *MODEL, "--checkpoint", checkpoint]
    result = command(*words)
    assert result.exit_code == 3
    assert f"all that could not be labelled: {tmp_path / 's.zarr-failures.csv'}" in result.stdout
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


def test_a_plan_says_what_a_job_will_take(command, scene_folder: Path, checkpoint: Path) -> None:
    words = ["plan", scene_folder / "images/val", *MODEL, "--checkpoint", checkpoint]
    answer = json.loads(command(*words, "--json", "--assume", "1281167").stdout)
    assert (answer["pictures"], answer["shards"], answer["probed"], answer["unreadable"]) == (1281167, 1252, 112, 0)
    assert answer["per_second"]["low"] <= answer["per_second"]["mid"] <= answer["per_second"]["high"]
    about = answer["pictures"] / answer["per_second"]["mid"] / 3600
    assert answer["worker_hours"]["mid"] == pytest.approx(about, rel=0.01)
    text = command(*words).stdout
    assert "30 pictures in 30 shards" in text
    assert "core-hours" in text


def test_a_plans_bytes_are_those_of_the_store(command, scene_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    words = [scene_folder / "images/train", *MODEL, "--checkpoint", checkpoint]
    planned = json.loads(command("plan", *words, "--json").stdout)["bytes_each"] * 120
    store = tmp_path / "s.zarr"
    assert command("run", words[0], store, *words[1:], "--rows-per-shard", 120).exit_code == 0
    written = sum((store / name).stat().st_size for name in open_store(store).record(0).objects)
    assert planned == pytest.approx(written, rel=0.15)


def test_status_watches_until_all_is_done(command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = store / "shards/record/c/1"
    kept = record.read_bytes()
    record.unlink()
    monkeypatch.setattr(time, "sleep", lambda seconds: record.write_bytes(kept))
    lines = command("status", store, "--watch", "--json").stdout.splitlines()
    assert [json.loads(line)["pending"] for line in lines] == [8, 0]


def test_a_terminal_gets_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with reporting("labelling", workers=lambda: 3) as reporter:
        reporter.report(Progress(29, 30, 0))
        reporter.say("a sentence")
        reporter.report(Progress(30, 30, 1))
    text = terminal.getvalue()
    assert "97%" in text
    assert "30/30" in text
    assert "workers=3" in text
    assert "failed=1" in text
    assert "a sentence" in text


def test_a_store_is_finalized_checked_by_others_and_described(command, store: Path) -> None:
    about = ("--source", "scans of digits", "--licence", "CC-BY-4.0")
    result = command("finalize", store, *about)
    assert result.exit_code == 0, result.output
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "MANIFEST.sha256"], cwd=store, check=True)
    assert command("verify", store, "--deep").exit_code == 0
    text = (store / "README.md").read_text()
    for words in ("scans of digits", "CC-BY-4.0", "test_resnet", "license: ", "30, of which 30 are labelled"):
        assert words in text, words
    assert command("card", store, *about).stdout == text
    (store / "README.md").write_text(text + "tampered")
    result = command("verify", store)
    assert result.exit_code == 4
    assert "README.md is not what MANIFEST.sha256 says" in result.stdout


def test_a_pending_store_is_not_finalized(command, store: Path) -> None:
    (store / "shards/record/c/2").unlink()
    result = command("finalize", store, "--source", "x", "--licence", "y")
    assert result.exit_code == 1
    assert "1 of 4 shards are pending" in result.stderr
    assert not (store / "MANIFEST.sha256").exists()


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


def test_a_bucket_is_an_address_like_any_other(
    command, scene_folder: Path, checkpoint: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real Ray workers write to a real server of the S3 protocol; status, verify, inspect and training read."""
    images, address = scene_folder / "images/val", f"s3://{s3.BUCKET}/labels.zarr"
    with s3.server() as server:
        for name, value in s3.environment(server).items():
            monkeypatch.setenv(name, value)
        words = ["run", images, address, *MODEL, "--checkpoint", checkpoint, "--rows-per-shard", "8", "--workers", "2"]
        result = subprocess.run([sys.executable, "-m", "cli", *map(str, words)], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert json.loads(command("status", address, "--json").stdout)["labelled"] == 30
        assert command("verify", address, "--deep").exit_code == 0
        assert "30" in command("inspect", address).stdout
        sheet = command("inspect", address, "--images", images, "-o", tmp_path / "sheet.png", "--count", 2)
        assert sheet.exit_code == 0, sheet.output
        pictures = ImageFolder(images)
        arguments = {"keys": folder_keys(pictures), "augment": Crops((64, 64)), "tokens": (8, 8), "class_count": 10}
        mine = LabeledImages(pictures, address, **arguments)[3].targets
        theirs = LabeledImages(pictures, finished, **arguments)[3].targets
        assert torch.equal(mine.probabilities, theirs.probabilities)
        assert "a-secret-of-the-tests" not in result.stdout + result.stderr + str(open_store(address).record(0))


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


def test_stores_are_audited_queried_compared_and_exported(
    command, store: Path, scene_folder: Path, tmp_path: Path
) -> None:
    audit = json.loads(command("audit", store, "--part", 0.2, "--json").stdout)
    assert (audit["pictures"], len(audit["suspects"])) == (30, 6)
    assert "of 30 pictures, the 1 whose label" in command("audit", store).stdout
    found = json.loads(command("query", store, "--class", "3", "--json").stdout)
    assert [one["area"] for one in found] == sorted((one["area"] for one in found), reverse=True)
    assert len(command("query", store, "--class", "3", "--min-area", 0.2).stdout.splitlines()) == sum(
        one["area"] >= 0.2 for one in found
    )
    images = scene_folder / "images/val"
    outputs = ["-o", tmp_path / "c.png", "--html", tmp_path / "c.html"]
    result = command("compare", store, store, "--images", images, *outputs)
    assert result.exit_code == 0, result.output
    assert "30 pictures are labelled in both" in result.stdout
    assert (tmp_path / "c.png").is_file()
    assert (tmp_path / "c.html").is_file()
    assert json.loads(command("compare", store, store, "--json").stdout)["agreement"] == 1
    assert command("compare", store, store, "-o", tmp_path / "c.png").exit_code == 2
    assert "30 pictures" in command("export", store, tmp_path / "masks", "--to", "png").stdout
    assert command("export", store, tmp_path / "masks", "--to", "png").exit_code == 1


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
    assert (result.exit_code, "class_names" in result.stderr) == (1, True)
    names.write_text("one\n")
    result = command(*words[:2], tmp_path / "t.zarr", *words[3:], "--names", names)
    assert (result.exit_code, "1 class names were given, but the model has 10 classes" in result.stderr) == (1, True)


def test_what_is_unfinished_is_said_by_all_that_look(command, store: Path, tmp_path: Path) -> None:
    (store / "shards/record/c/1").unlink()
    for words in (["audit", store], ["query", store, "--class", "3"], ["compare", store, store]):
        assert "is unfinished: 8 pictures are still to be labelled" in command(*words).stderr
    result = command("export", store, tmp_path / "out", "--to", "coco")
    assert "is unfinished: 8 pictures" in result.stderr
    assert "the masks of 22 pictures" in result.stdout
