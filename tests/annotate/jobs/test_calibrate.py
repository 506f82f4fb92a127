"""Does the fitted temperature undo a known overconfidence?"""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from annotate.errors import AnnotateError
from annotate.images import FolderImages, open_images
from annotate.jobs.calibrate import calibrate, calibration_error, fit
from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from cli import main
from tests.annotate.commands.conftest import MODEL
from tests.conftest import MODEL_KWARGS


def answers(factor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are this many times too large, and random classes with the right probabilities."""
    torch.manual_seed(0)
    logits = 2 * torch.randn(20_000, 10, dtype=torch.float64)
    return factor * logits[None], torch.distributions.Categorical(logits=logits).sample()


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_factor_is_found(factor: float) -> None:
    found = fit(*answers(factor))
    assert found.temperature == pytest.approx(factor, rel=0.05)
    assert found.error[1] < 0.01
    assert found.nll[1] <= found.nll[0] + 1e-9
    if factor != 1:
        assert found.error[0] > 5 * found.error[1]


def test_the_error_is_the_distance_between_confidence_and_accuracy() -> None:
    half = torch.tensor([[0.9, 0.1]] * 10)
    assert calibration_error(half, torch.tensor([0] * 5 + [1] * 5)) == pytest.approx(0.4, abs=1e-6)
    assert calibration_error(half, torch.tensor([0] * 9 + [1])) == pytest.approx(0, abs=1e-6)


def test_pictures_without_the_networks_classes_are_refused(recipe: Recipe, scene_folder: Path) -> None:
    annotator, source = Annotator(recipe, k=1), FolderImages(scene_folder / "images/val")
    with pytest.raises(AnnotateError, match=r"none of the pictures' classes .* is named like .*\(a, b, c, …\)"):
        calibrate(source, annotator, tuple("abcdefghij"))
    flat = FolderImages(next((scene_folder / "images/val").iterdir()))
    with pytest.raises(AnnotateError, match="the pictures have no classes"):
        calibrate(flat, annotator, tuple("0123456789"))


def collection(scene_folder: Path, root: Path, names: dict[str, str]) -> FolderImages:
    """The val scenes in folders of other names."""
    for old, new in names.items():
        shutil.copytree(scene_folder / "images/val" / old, root / new)
    return FolderImages(root)


def test_classes_may_be_called_by_a_synonym_or_number_but_not_by_a_name_of_two(
    recipe: Recipe, scene_folder: Path, tmp_path: Path
) -> None:
    annotator = Annotator(recipe, k=1)
    names = ("crane", "crane", "tabby, tabby cat", *"defghij")
    source = collection(scene_folder, tmp_path / "a", {"2": "Tabby Cat", "3": "d", "4": "unknown"})
    found = calibrate(source, annotator, names)
    assert found == calibrate(collection(scene_folder, tmp_path / "b", {"2": "2", "3": "3"}), annotator, None)
    source = collection(scene_folder, tmp_path / "c", {"2": "crane", "3": "d"})
    said = (
        r"'crane' may be any of .* 0 \(crane\), 1 \(crane\); name the network's classes differently, with --names FILE"
    )
    with pytest.raises(AnnotateError, match=said):
        calibrate(source, annotator, names)
    source = collection(scene_folder, tmp_path / "d", {"2": "crane", "3": "d"})
    with pytest.raises(AnnotateError, match=r"0 \(crane, bird\), 1 \(crane, machine\); call it by its full name, or"):
        calibrate(source, annotator, ("crane, bird", "crane, machine", *"bcdefghi"))


def test_integer_targets_are_the_networks_own_numbers(recipe: Recipe, scene_folder: Path, tmp_path: Path) -> None:
    annotator, folder = Annotator(recipe, k=1), Path(shutil.copytree(scene_folder / "images/val", tmp_path / "val"))
    keys = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    for name, more in (("in", 0), ("beyond", 5)):
        lines = [f"val/{key},{int(key.partition('/')[0]) + more}" for key in keys]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,label", *lines]))
    expected = calibrate(FolderImages(folder), annotator, tuple("0123456789"))
    found = calibrate(open_images(tmp_path / "in.csv"), annotator, None)
    assert (found.pictures, found.temperature) == (expected.pictures, pytest.approx(expected.temperature, rel=1e-3))
    with pytest.raises(AnnotateError, match="are numbers up to 14 or more, but the networks have 10 classes, 0 to 9"):
        calibrate(open_images(tmp_path / "beyond.csv"), annotator, None)


@pytest.mark.parametrize(
    ("name", "words"),
    [("10", "numbers up to 10 or more, but .* 0 to 9"), ("007", "none of the pictures' classes .007")],
)
def test_folders_that_may_be_numbered_from_one_are_refused(
    recipe: Recipe, scene_folder: Path, tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(AnnotateError, match=words):
        calibrate(collection(scene_folder, tmp_path / "a", {"1": name}), Annotator(recipe, k=1), None)


def test_a_few_folders_named_by_synsets_are_imagenets_classes(scene_folder: Path, tmp_path: Path) -> None:
    model = timm.create_model("test_resnet")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    recipe = Recipe.for_model("test_resnet.r160_in1k", checkpoint=tmp_path / "w.safetensors", input_size=(64, 64))
    annotator, names = Annotator(recipe, k=1), recipe.class_names()
    folders = {"0": "n01440764", "1": "n03126707"}  # tench, and the crane that is a machine: 0 and 517
    found = calibrate(collection(scene_folder, tmp_path / "a", folders), annotator, names)
    expected = calibrate(collection(scene_folder, tmp_path / "b", {"0": "0", "1": "517"}), annotator, None)
    assert found == expected
    said = r"134 \(crane, n02012849\), 517 \(crane, n03126707\); call it by its ImageNet synset, or leave"
    with pytest.raises(AnnotateError, match=said):
        calibrate(collection(scene_folder, tmp_path / "c", {"0": "crane"}), annotator, names)


def test_names_in_a_file_name_the_networks_classes(scene_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("".join(f"digit {n}\n" for n in range(10)))
    source = collection(scene_folder, tmp_path / "a", {str(n): f"digit {n}" for n in range(3)})
    words = ["calibrate", str(tmp_path / "a"), *MODEL, "--checkpoint", str(checkpoint), "--json"]
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, "--names FILE names the network's classes" in result.stderr) == (1, True), result.output
    result = CliRunner().invoke(main, [*words, "--names", str(tmp_path / "names.txt")])
    assert json.loads(result.stdout)["pictures"] == len(source.keys)


def test_the_command_writes_settings_that_run_takes(scene_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    settings, network = tmp_path / "temperature.toml", tmp_path / "network.toml"
    network.write_text(
        f"model = 'test_resnet'\ncheckpoint = '{checkpoint}'\ninput-size = 64\n"
        f"model-kwarg = {json.dumps([f'{key}={value}' for key, value in MODEL_KWARGS.items()])}\n"
    )
    images = str(scene_folder / "images/val")
    words = ["calibrate", images, "--config", str(network), "-o", str(settings), "--count", "20", "--json"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["pictures"] == 20
    assert tomllib.loads(settings.read_text())["temperature"] == pytest.approx(found["temperature"], abs=1e-4)
    store = tmp_path / "labels.zarr"
    words = ["run", images, str(store), "--config", str(network), "--config", str(settings), "--workers", "1", "--flip"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    recipe = json.loads((store / "zarr.json").read_text())["attributes"]["tokenlabel"]["schema"]["recipe"]
    assert recipe["temperature"] == pytest.approx(found["temperature"], abs=1e-4)
    assert recipe["flip"] is True
    assert recipe["networks"][0]["input_size"] == [64, 64]


def test_an_unknown_setting_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("flipp = true\n")
    words = ["run", "images", "labels.zarr", "--config", str(tmp_path / "a.toml")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "a.toml: unknown setting flipp. Settings are named like the options of `annotate run`: " in result.output
