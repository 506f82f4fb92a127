"""Which names does an annotator take? timm's, our students', and those of repositories and folders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import tokenlabel.models  # noqa: F401  registers the students
from annotate.errors import AnnotateError
from annotate.model.annotator import Annotator
from annotate.model.network import Network, state_hash
from annotate.model.recipe import Recipe
from benchmarks.annotate.families import randomise

NAMES = tuple("abcdefghij")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network as timm's push_to_hf_hub writes it."""
    model = randomise(timm.create_model("test_resnet", num_classes=10))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    config = {"input_size": [3, 64, 64], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear"}
    config |= {"crop_pct": 1.0, "classifier": "fc", "first_conv": "conv1.0", "num_classes": 10}
    found = {"architecture": "test_resnet", "num_classes": 10, "label_names": list(NAMES), "pretrained_cfg": config}
    (tmp_path / "config.json").write_text(json.dumps(found))
    return tmp_path


def test_a_folder_is_its_architecture_with_its_weights_input_and_names(folder: Path) -> None:
    network = Network.of(f"local-dir:{folder}")
    assert (network.model, network.input_size, network.mean) == ("test_resnet", (64, 64), (0.5, 0.5, 0.5))
    assert (network.interpolation, network.class_names()) == ("bilinear", NAMES)
    assert str(folder) not in json.dumps(network.to_json())
    expected = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert state_hash(network.build()) == state_hash(expected)


def test_a_repository_of_the_hub_is_taken_as_timm_takes_it(folder: Path, tmp_path: Path) -> None:
    """From the Hub's cache, as it lies after a download."""
    snapshot = snapshot_of(tmp_path / "cache", "someone", "net")
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(snapshot / name)
    code = (
        "from annotate import Network\n"
        "for prefix in ('hf-hub:', 'hf_hub:'):\n"
        "    network = Network.of(prefix + 'someone/net')\n"
        "    model = network.build()\n"
        "    print(network.model, network.mean, ''.join(network.class_names()), network.weights)\n"
        "    print(network.provenance(model)['hub']['commit'])"
    )
    done = with_cache(tmp_path / "cache", code)
    expected = ["hf-hub:someone/net (0.5, 0.5, 0.5) abcdefghij pretrained", "0" * 40]
    assert done.stdout.splitlines() == 2 * expected, done.stderr


def snapshot_of(cache: Path, owner: str, name: str) -> Path:
    """The folder where the Hub's cache has the files of a repository."""
    snapshot = cache / f"models--{owner}--{name}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    return snapshot


def with_cache(cache: Path, code: str) -> subprocess.CompletedProcess[str]:
    """What a fresh process does with that cache and without a network."""
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "PATH": "/usr/bin:/bin"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_a_thousand_classes_without_names_are_imagenets_only_in_timms_own_repositories(tmp_path: Path) -> None:
    config = {"architecture": "test_resnet", "pretrained_cfg": {"input_size": [3, 64, 64], "num_classes": 1000}}
    for owner in ("someone", "timm"):
        (snapshot_of(tmp_path, owner, "net") / "config.json").write_text(json.dumps(config))
    code = (
        "from annotate import Network\n"
        "for owner in ('someone', 'timm'):\n"
        "    names = Network.of(f'hf-hub:{owner}/net').class_names()\n"
        "    print(owner, names and names[0])"
    )
    done = with_cache(tmp_path, code)
    assert done.stdout.splitlines() == ["someone None", "timm tench, Tinca tinca"], done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit_tiny_patch16_224_in21k", "timm has renamed the model .* to vit_tiny_patch16_224.augreg_in21k"),
        ("timm/resnet50", "hf-hub:OWNER/NAME .* local-dir:FOLDER"),
        ("ftp:resnet50", "hf-hub:OWNER/NAME .* local-dir:FOLDER"),
        ("local-dir:/nowhere", "there is no /nowhere/config.json"),
    ],
)
def test_a_name_that_is_none_says_what_to_give(name: str, words: str) -> None:
    with pytest.raises(AnnotateError, match=words):
        Network.of(name)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("lvvit_t", {"depth": 2}),
        ("t2t_vit_7", {}),
        ("dynamicvit_lvvit_s_07", {"keep_ratio": 1.0}),
        ("dynamicvit_deit_256_07", {"keep_ratio": 1.0}),
    ],
)
def test_students_of_ours_label_every_token(tmp_path: Path, name: str, arguments: dict[str, object]) -> None:
    """Of a DynamicViT, whose tokens are sorted on the way, each location has its own token's answer."""
    arguments = {"num_classes": 10, "img_size": 64, **arguments}
    model = randomise(timm.create_model(name, **arguments)).eval()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    network = Network.of(name, checkpoint=tmp_path / "w.safetensors", model_kwargs=arguments)
    assert network.input_size == (64, 64)
    annotator = Annotator(Recipe(networks=(network,)), k=10)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = annotator([picture])
    pixels = (torch.tensor(picture).permute(2, 0, 1)[None] / 255 - torch.tensor(network.mean)[:, None, None]) / (
        torch.tensor(network.std)[:, None, None]
    )
    with torch.inference_mode():
        expected = model.logits(pixels)[1].softmax(-1)[0].numpy()
    dense = np.zeros((16, 10), np.float32)
    np.put_along_axis(dense, found.classes[0].reshape(16, 10).astype(np.int64), found.scores[0].reshape(16, 10), -1)
    assert np.abs(dense - expected).max() < 1e-3


def test_a_student_without_an_answer_for_each_token_is_refused(tmp_path: Path) -> None:
    for name, words in (("dynamicvit_lvvit_s_07", "--model-kwarg keep_ratio=1.0"), ("t2t_vit_7", "is all zero")):
        model = randomise(timm.create_model(name, num_classes=10, img_size=64))
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        if name.startswith("t2t"):  # as its published files are
            state = {key: value for key, value in state.items() if not key.startswith("aux_head")}
        save_file(state, tmp_path / f"{name}.safetensors")
        arguments = {"num_classes": 10, "img_size": 64}
        network = Network.of(name, checkpoint=tmp_path / f"{name}.safetensors", model_kwargs=arguments)
        with pytest.raises(AnnotateError, match=words):
            Annotator(Recipe(networks=(network,)), k=5)


def test_students_are_known_to_a_process_that_has_not_imported_them() -> None:
    code = "from annotate import Network; print(Network.of('lvvit_s').input_size)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "(224, 224)\n", done.stderr


def test_the_size_that_a_network_needs_is_said(tmp_path: Path) -> None:
    name, arguments = "vit_tiny_patch16_224", {"num_classes": 10, "global_pool": "avg", "class_token": False}
    save_file(timm.create_model(name, **arguments).state_dict(), tmp_path / "w.safetensors")
    network = Network.of(name, checkpoint=tmp_path / "w.safetensors", input_size=(96, 96), model_kwargs=arguments)
    with pytest.raises(AnnotateError, match="fixed size, 224x224 .* --model-kwarg img_size=96"):
        Annotator(Recipe(networks=(network,)), k=5)
