"""Would the container recipes build? Neither Docker nor Apptainer is needed: each line's part that can run is run."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.distribution.test_wheel import clean

ROOT = Path(__file__).parents[2]
DOCKER = (ROOT / "containers" / "Dockerfile").read_text()
APPTAINER = (ROOT / "containers" / "tokenlabel.def").read_text()
TAKEN = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENTRYPOINT"}


def section(name: str) -> list[str]:
    """The lines of a section of the Apptainer recipe."""
    text = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", APPTAINER, re.M | re.S)
    assert text is not None
    return [line.strip() for line in text[1].splitlines() if line.strip()]


def lines(word: str) -> list[str]:
    """The arguments of each such instruction of the Dockerfile."""
    return [line.partition(" ")[2] for line in DOCKER.splitlines() if line.startswith(f"{word} ")]


def copied_by_docker() -> set[str]:
    return {name for line in lines("COPY") for name in line.split()[:-1]}


def copied_by_apptainer() -> set[str]:
    return {line.split()[0] for line in section("files")}


def installing() -> list[str]:
    """The commands of both that install our package."""
    found = [line for line in [*lines("RUN"), *section("post")] if "'." in line]
    assert len(found) == 2
    return found


def test_each_instruction_is_one_that_these_tests_know() -> None:
    words = {line.split()[0] for line in DOCKER.splitlines() if line and not line.startswith("#")}
    assert words == TAKEN
    assert re.findall(r"^%(\w+)", APPTAINER, re.M) == ["files", "post", "test", "runscript"]


def test_both_recipes_have_one_python_and_one_set_of_files() -> None:
    assert lines("FROM") == re.findall(r"^From: (.*)$", APPTAINER, re.M) == ["python:3.11-slim"]
    assert copied_by_docker() == copied_by_apptainer()


def test_the_extras_that_they_install_exist() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    for command in installing():
        (extras,) = re.findall(r"'\.\[(.*?)\]'", command)
        assert {*extras.split(",")} <= {*settings["options.extras_require"]}
        (pins,) = re.findall(r"--constraint (\S+)", command)
        assert pins in ("pins.txt", "constraints.txt")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_pins_of_a_device_are_chosen(device: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    command = lines("RUN")[0]
    subprocess.run(["sh", "-euc", command], cwd=tmp_path, env={"DEVICE": device, "PATH": "/usr/bin:/bin"}, check=True)
    pins = (tmp_path / "pins.txt").read_text()
    assert ("nvidia-cublas==" in pins) == ("triton==" in pins) == (device == "cuda")
    assert "torch==" in pins


def test_without_an_index_of_wheels_the_processors_image_says_what_to_give() -> None:
    command = lines("RUN")[1]
    found = subprocess.run(
        ["sh", "-euc", command],
        env={"DEVICE": "cpu", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode != 0, "TORCH_INDEX=URL of wheels without CUDA" in found.stderr) == (True, True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder like /src of both: what they copy, and nothing else."""
    folder = tmp_path / "src"
    folder.mkdir()
    for name in copied_by_docker():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def shell(source: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs a script as a build does, in /src; pip asks no index, and only says what it would install."""
    tools = tmp_path / "tools"
    tools.mkdir()
    dry = "--dry-run --no-deps --no-index --no-build-isolation --disable-pip-version-check"
    (tools / "pip").write_text(f'#!/bin/sh\nexec {sys.executable} -m pip "$@" {dry}\n')
    (tools / "annotate").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m cli "$@"\n')
    for path in tools.iterdir():
        path.chmod(0o755)

    def run(script: str, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            ["sh", "-euc", script.replace("/src", str(source)), "sh", *arguments],
            cwd=source,
            env={**clean(), "PATH": f"{tools}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_line_of_the_dockerfile_is_run_in_order(device: str, shell: Callable[..., str]) -> None:
    pins, torch, package, helped = (
        shell(line, DEVICE=device, TORCH_INDEX="https://wheels.invalid") for line in lines("RUN")
    )
    assert ("Requirement already satisfied: torch" in torch, pins) == (device == "cpu", "")
    assert "Would install tokenlabel-0.1.0" in package
    entry = " ".join(json.loads(lines("ENTRYPOINT")[0]))
    assert helped == shell(f'{entry} "$@"', "--help")
    assert helped.startswith("Usage:")


def test_each_line_of_the_apptainer_recipe_is_run_in_order(shell: Callable[..., str]) -> None:
    assert "Would install tokenlabel-0.1.0" in shell("\n".join(section("post")))
    helped = shell("\n".join(section("test")))
    assert helped == shell("\n".join(section("runscript")), "--help")
    assert helped.startswith("Usage:")


def test_what_they_copy_is_enough_to_build_the_package(source: Path) -> None:
    """pip prepares the metadata and the wheel of exactly these files."""
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet", "."]
    subprocess.run(pip, cwd=source, env=clean(), check=True)
    assert [path.name for path in source.glob("*.whl")] == ["tokenlabel-0.1.0-py3-none-any.whl"]
