"""Can the wheel be used alone? Built from the sdist, installed into an empty environment, used in another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT_FROM = (
    "LICENSE", "MANIFEST.in", "README.md", "cli.py", "pyproject.toml", "setup.cfg", "tokenlabel_entry.py",
)  # fmt: skip
PACKAGES = ("annotate", "networks", "storage", "tokenlabel")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make dist` fills, from a copy of the checkout."""
    root = tmp_path_factory.mktemp("checkout")
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, root)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (command,) = [line.strip() for line in (ROOT / "Makefile").read_text().splitlines() if " -m build" in line]
    words = command.replace("$(BIN)/python", sys.executable).split()
    found = subprocess.run(words, cwd=root, env=clean(), capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return root / "dist"


def clean() -> dict[str, str]:
    """The environment without this checkout in it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment with the wheel; torch and the like come from this one, our packages do not."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel]
    subprocess.run(pip, check=True, env=clean())
    (site,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file comes last, and .pth files in that folder, as of an editable installation, are not read.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def used(
    python: Path, *words: str | Path, cwd: Path, path: Path | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    environment = clean() | ({} if path is None else {"PYTHONPATH": str(path)})
    found = subprocess.run([python, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == code, found.stdout + found.stderr
    return found


def test_the_wheel_has_the_packages_their_data_and_one_module(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {*archive.namelist()}
        assert b"def main" in archive.read("annotate/__main__.py")  # cli.py itself, not a link
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {*PACKAGES, "tokenlabel_entry.py"}
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert ours <= names


def test_training_alone_needs_neither_timm_nor_ray(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = message_from_bytes(archive.read(name))
    needs = {line.split(">")[0].strip() for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert needs == {
        "click", "google-crc32c", "numpy", "pillow", "torch", "torchvision", "tqdm", "zarr", "zstandard",
    }  # fmt: skip


def test_the_wheel_labels_and_trains_in_another_folder(
    installed: Path, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    annotate = installed.with_name("annotate")
    assert "Exit codes" in used(annotate, "--help", cwd=tmp_path).stdout
    pictures = tmp_path / "photos"
    pictures.mkdir()
    for picture in sorted((scene_folder / "images" / "val").rglob("*.jpg"))[:3]:
        shutil.copy(picture, pictures)
    run = [annotate, "run", "photos", "labels.zarr", "--model", "test_resnet", "--checkpoint", checkpoint, "--local"]
    run += ["--input-size", "64", "--model-kwarg", "output_stride=8", "--model-kwarg", "num_classes=10"]
    used(*run, cwd=tmp_path)
    used(annotate, "inspect", "labels.zarr", "--images", "photos", "--html", "report.html", cwd=tmp_path)
    read = (
        "import storage, tokenlabel, tokenlabel.configs; from importlib.resources import files;"
        "print(len(storage.open_store('labels.zarr').keys), storage.__file__);"
        "assert all((files(p) / 'py.typed').is_file() for p in ('annotate', 'networks', 'storage', 'tokenlabel'))"
    )
    count, where = used(installed, "-c", read, cwd=tmp_path).stdout.split()
    assert count == "3"
    assert Path(where).is_relative_to(installed.parents[1])
    assert "--config" in used(installed, "-m", "tokenlabel.train", "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("package", ["storage", "networks"])
@pytest.mark.parametrize("first", ["annotate", "tokenlabel"])
def test_the_first_import_names_a_package_that_hides_ours(
    first: str, package: str, installed: Path, tmp_path: Path
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    message = used(installed, "-c", f"import {first}", cwd=tmp_path, code=1).stderr
    assert f"tokenlabel imports its package `{package}`, and Python finds another one first: {tmp_path}" in message
    assert "Start Python in another folder" in message


def test_the_command_names_a_package_that_hides_its_own(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "annotate").mkdir()
    (tmp_path / "annotate" / "__init__.py").write_text("")
    message = used(installed.with_name("annotate"), "--help", cwd=tmp_path, path=tmp_path, code=1).stderr
    assert f"`annotate`, and Python finds another one first: {tmp_path}/annotate/__init__.py" in message


def test_a_folder_of_this_name_that_is_no_package_hides_nothing(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    used(installed, "-c", "import tokenlabel", cwd=tmp_path)


def test_the_first_import_says_whose_distribution_was_installed_over_ours(installed: Path, tmp_path: Path) -> None:
    (site,) = installed.parents[1].glob("lib/python*/site-packages")
    file, record = site / "storage" / "__init__.py", site / "depot-1.0.dist-info" / "RECORD"
    ours = file.read_text()
    record.parent.mkdir()
    record.write_text("storage/__init__.py,,\n")
    (record.parent / "METADATA").write_text("Metadata-Version: 2.1\nName: depot\nVersion: 1.0\n")
    file.write_text("")
    try:
        message = used(installed, "-c", "import tokenlabel", cwd=tmp_path, code=1).stderr
    finally:
        file.write_text(ours)
        shutil.rmtree(record.parent)
    assert f"{file} belongs to another distribution, which was installed over it (depot)" in message
    assert "pip install --force-reinstall --no-deps tokenlabel" in message
    used(installed, "-c", "import tokenlabel", cwd=tmp_path)
