"""What does a person see, and a script by exit code, when a command cannot do its work?"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import zarr

from tests import s3
from tests.annotate.commands.conftest import MODEL

WEIGHTS = ["--checkpoint", "{checkpoint}"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "{tmp}/nothing", "{tmp}/s.zarr", "--model", "resnet18"], 1, "there is no folder of pictures at"),
        (["run", "{images}", "{tmp}/s.zarr", "--model", "resnet81"], 1, "did you mean .*resnet18"),
        (["run", "{images}", "/proc/s.zarr", *MODEL, *WEIGHTS], 1, "cannot make the folder of /proc.* Give an address"),
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
