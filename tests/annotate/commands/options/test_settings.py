"""Is a settings file taken as the options are, and a wrong value refused?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch

from storage import Schema, open_store
from tests.annotate.commands.conftest import MODEL
from tests.conftest import MODEL_KWARGS


@pytest.mark.parametrize("name", ["run", "calibrate"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flip = 3", "flip = 3 is not valid; expected: true or false"),
        ("compile = 'yes'", 'compile = "yes" is not valid; expected: true or false'),
        ("temperature = [1, 2]", r"temperature = \[1, 2\] is not valid; expected: a number"),
        ("temperature = true", "temperature = true is not valid; expected: a number"),
        ("top-k = 0", "top-k = 0 is not valid; expected: a whole number, 1 or more"),
        ("batch_size = 8.0", "batch_size = 8.0 is not valid; expected: a whole number, 1 or more"),
        ("workers = '2'", 'workers = "2" is not valid; expected: a whole number, 1 or more'),
        ("head = 'nose'", 'head = "nose" is not valid; expected: one of "local", "frozen"'),
        ("model = ['resnet18', 3]", r'model = \["resnet18", 3\] is not valid; expected: text, or a list of these'),
        ("checkpoint = 1979-05-27", 'checkpoint = "1979-05-27" is not valid; expected: text, or a list of these'),
        (
            "model-kwarg = {a = 1}",
            'model-kwarg = {"a": 1} is not valid; expected: KEY=VALUE, for example output_stride=8, or a',
        ),
        (
            "input-size = 'big'",
            'input-size = "big" is not valid; expected: a number of pixels, for example 224, or height and width, for',
        ),
        (
            "scales = [[1.0]]",
            r"scales = \[\[1.0\]\] is not valid; expected: numbers with commas between them, for example 0.8,1.0,1.2",
        ),
        ("mean = [0.5, 0.5]", r"mean = \[0.5, 0.5\] is not valid; expected: three numbers, for example 0.485,0.456"),
        ("std = 'white'", 'std = "white" is not valid; expected: three numbers, for example 0.229,0.224,0.225, or a'),
        (
            "json = 1",
            "unknown setting json. Settings are named like the options of `annotate run`: allow-global, batch-size, ",
        ),
        (
            "[run]\nflip = true",
            "unknown setting run. Settings are named like the options of `annotate run`: allow-global, batch-size, ",
        ),
    ],
)
def test_a_setting_of_another_type_is_refused_with_its_file_and_what_is_expected(
    command, tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / "a.toml").write_text(text)
    words = [name, tmp_path, *[tmp_path / "s.zarr"][: name == "run"], "--config", tmp_path / "a.toml"]
    result = command(*words)
    assert result.exit_code == 2, result.output
    start = rf"Error: cannot use the settings in {re.escape(str(tmp_path))}/a.toml: "
    assert re.search(start + message, result.stderr), result.stderr
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
    assert (
        result.exit_code,
        "a.toml: unknown setting count. Settings are named like the options of" in result.stderr,
    ) == (2, True), result.output


def test_the_normalisation_is_a_setting_and_an_option(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "a.toml"
    settings.write_text("mean = [0.1, 0.2, 0.3]\nstd = '0.5,0.5,0.5'\ninterpolation = 'lanczos'\n")
    words = [*MODEL, "--checkpoint", checkpoint, "--config", settings]
    result = command("run", scene_folder / "images/val", tmp_path / "s.zarr", *words, "--std", "0.2,0.4,0.6")
    assert result.exit_code == 0, result.output
    schema = open_store(tmp_path / "s.zarr").schema
    expected = {"mean": [0.1, 0.2, 0.3], "std": [0.2, 0.4, 0.6], "interpolation": "lanczos"}
    for found in (schema.recipe["networks"][0], schema.provenance["networks"][0]["pretrained_cfg"]):
        assert {name: found[name] for name in expected} == expected
    settings.write_text("mean = [[0.1, 0.2, 0.3], '0.4,0.5,0.6']\n")
    result = command("run", scene_folder / "images/val", tmp_path / "t.zarr", *words)
    assert (result.exit_code, "got 2 --mean for 1 --model" in result.stderr) == (2, True), result.output


def test_what_is_taken_from_a_checkpoint_is_said(command, scene_folder: Path, tmp_path: Path) -> None:
    state = timm.create_model("test_resnet", num_classes=10).state_dict()
    torch.save({"state_dict": state, "state_dict_ema": state}, tmp_path / "w.pth")
    for name, more in (("run", [tmp_path / "s.zarr"]), ("plan", []), ("calibrate", ["--count", "8"])):
        words = ["--model", "test_resnet", "--input-size", "64", "--checkpoint", tmp_path / "w.pth"]
        result = command(name, scene_folder / "images/val", *more, *words)
        assert "averaged weights (state_dict_ema, EMA)" in result.stderr, result.output
        assert "so the network gets num_classes=10, not the 1000 of test_resnet" in result.stderr
