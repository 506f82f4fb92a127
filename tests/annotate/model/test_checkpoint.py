"""Is each shape of checkpoint loaded as timm loads it, or refused with its own reason?"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from annotate.errors import AnnotateError
from annotate.model.network import Network, state_hash
from benchmarks.annotate.families import randomise
from tests.conftest import MODEL_KWARGS

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tensors(checkpoint: Path) -> Tensors:
    return load_file(checkpoint)


def network(path: Path, model: str = "test_resnet", **others: object) -> Network:
    return Network.of(model, checkpoint=path, **{"input_size": (64, 64), **others})


def saved(found: object, folder: Path, name: str = "w.pth") -> Path:
    torch.save(found, folder / name)
    return folder / name


def other(tensors: Tensors) -> Tensors:
    return {name: value + 1 if value.is_floating_point() else value for name, value in tensors.items()}


SHAPES: dict[str, Callable[[Tensors], object]] = {
    "plain": lambda t: t,
    "DDP": lambda t: {f"module.{name}": value for name, value in t.items()},
    "compiled": lambda t: {f"_orig_mod.module.{name}": value for name, value in t.items()},
    "timm's training": lambda t: {"state_dict": t, "args": argparse.Namespace(mean=None), "metric": 71.3},
    "averaged": lambda t: {"state_dict": other(t), "state_dict_ema": t},
    "averaged model": lambda t: {"model": other(t), "model_ema": t},
    "DeiT": lambda t: {"model": t, "epoch": 3},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_checkpoint_give_the_same_network(
    checkpoint: Path, tensors: Tensors, tmp_path: Path, shape: str
) -> None:
    found = network(saved(SHAPES[shape](tensors), tmp_path))
    assert state_hash(found.build()) == state_hash(network(checkpoint).build())
    assert found.model_kwargs == {"num_classes": 10}  # 1,000 is timm's
    assert any("averaged weights" in note for note in found.notes) == ("averaged" in shape)
    assert any("fc.weight has 10 classes, so the network gets num_classes=10" in note for note in found.notes)


def test_a_classifier_as_timm_has_it_leaves_the_recipe_as_it_was(tmp_path: Path) -> None:
    path = saved(timm.create_model("test_resnet").state_dict(), tmp_path)
    assert (network(path).model_kwargs, network(path).notes) == ({}, ())


def test_a_number_of_classes_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet", num_classes=10).state_dict()
    path = saved({name.replace("fc.", "last."): value for name, value in state.items()}, tmp_path)
    with pytest.raises(AnnotateError, match="does not fit .*give it with --model-kwarg num_classes=N"):
        network(path).build()
    path = saved(timm.create_model("test_resnet", num_classes=10).state_dict(), tmp_path)
    with pytest.raises(AnnotateError, match=r"does not fit .*its classifier fc.weight has 10 classes"):
        network(path, model_kwargs={"num_classes": 12}).build()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (lambda t: {f"model.{name}": value for name, value in t.items()}, r"named model\.\S+ and .* without 'model\.'"),
        (
            lambda t: {"teacher": {f"backbone.{name}": value for name, value in t.items()}},
            "no tensors .* nor under state",
        ),
        (lambda t: {f"{name}_": value for name, value in t.items()}, "none of its tensors has a name of the model's"),
        (
            lambda t: {name: t[name] for name in t if "fc." not in name},
            "all that it lacks is fc.weight and fc.bias; give",
        ),
    ],
)
def test_names_that_do_not_fit_are_the_reason_and_not_the_number_of_classes(
    tensors: Tensors, tmp_path: Path, shape: Callable[[Tensors], object], words: str
) -> None:
    with pytest.raises(AnnotateError, match=f"does not fit .*{words}") as caught:
        network(saved(shape(tensors), tmp_path)).build()
    assert "num_classes=N" not in str(caught.value)


def cut_zip(folder: Path, tensors: Tensors) -> Path:
    path = saved(tensors, folder)
    path.write_bytes(path.read_bytes()[:100_000])
    return path


def cut_safetensors(folder: Path, tensors: Tensors) -> Path:
    save_file(tensors, folder / "w.safetensors")
    (folder / "w.safetensors").write_bytes((folder / "w.safetensors").read_bytes()[:100_000])
    return folder / "w.safetensors"


def written(content: bytes, name: str) -> Callable[[Path, Tensors], Path]:
    def write(folder: Path, tensors: Tensors) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def scripted(folder: Path, tensors: Tensors) -> Path:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(folder / "w.pt"))
    return folder / "w.pt"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.jit
@pytest.mark.parametrize(
    ("write", "words"),
    [
        (written(b"", "w.pth"), "is empty: it has 0 bytes"),
        (written(b"", "w.safetensors"), "is empty: it has 0 bytes"),
        (written(POINTER, "w.safetensors"), "is a pointer of Git LFS, .*git lfs pull"),
        (written(POINTER, "w.pth"), "is a pointer of Git LFS, .*git lfs pull"),
        (written(b"<!DOCTYPE html><html>", "w.pth"), "is a web page"),
        (written(b"no weights", "w.pth"), "it is no pickle of tensors"),
        (cut_zip, "it is cut short: the end of its 100,000 bytes is missing"),
        (cut_safetensors, "it is cut short"),
        (lambda f, t: saved({"state_dict": t, "metric": np.float64(71.3)}, f), r"Python objects \(numpy.*numpy's num"),
        (lambda f, t: saved(timm.create_model("test_resnet"), f), r"Python objects \(.*found.state_dict\(\)"),
        (scripted, "it is a TorchScript program"),
    ],
)
def test_a_file_that_is_no_checkpoint_has_its_own_reason(
    tensors: Tensors, tmp_path: Path, write: Callable[[Path, Tensors], Path], words: str
) -> None:
    path = write(tmp_path, tensors)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(AnnotateError, match=words) as caught:
            network(path)
    assert not seen
    assert "retry with weights_only=False" not in str(caught.value)  # timm's advice, which no option can follow
    assert len(str(caught.value)) < 900


def test_positions_of_another_size_are_resampled_as_timm_resamples_what_it_downloads(tmp_path: Path) -> None:
    arguments = {"num_classes": 10, "global_pool": "avg", "class_token": False}
    state = randomise(timm.create_model("vit_tiny_patch16_224", **arguments)).state_dict()
    path = saved(state, tmp_path)
    larger = arguments | {"img_size": 96}
    found = network(path, "vit_tiny_patch16_224", input_size=None, model_kwargs=larger)
    assert found.input_size == (96, 96)
    overlay = {"state_dict": state, "num_classes": 10}
    expected = timm.create_model("vit_tiny_patch16_224", pretrained=True, pretrained_cfg_overlay=overlay, **larger)
    made = found.build()
    assert state_hash(made) == state_hash(expected)
    assert "state_dict" not in made.pretrained_cfg


def test_a_family_that_timm_fills_although_weights_are_missing_is_refused(tmp_path: Path) -> None:
    state = timm.create_model("dla46x_c", num_classes=10).state_dict()
    del state["level2.tree1.conv1.weight"]
    with pytest.raises(AnnotateError, match=r"(?s)does not fit .*Missing key\(s\).*level2.tree1.conv1.weight"):
        network(saved(state, tmp_path), "dla46x_c").build()


NORMALISATION = {"mean": [0.5, 0.25, 0.125], "std": [0.25, 0.5, 0.75], "interpolation": "bicubic"}


def in_header(tensors: Tensors, folder: Path) -> Path:
    header = {name: value if isinstance(value, str) else json.dumps(value) for name, value in NORMALISATION.items()}
    save_file(tensors, folder / "w.safetensors", metadata=header)
    return folder / "w.safetensors"


def in_header_configuration(tensors: Tensors, folder: Path) -> Path:
    save_file(tensors, folder / "w.safetensors", metadata={"pretrained_cfg": json.dumps(NORMALISATION)})
    return folder / "w.safetensors"


@pytest.mark.parametrize(
    "write",
    [
        in_header,
        in_header_configuration,
        lambda t, f: saved({"state_dict": t, "pretrained_cfg": NORMALISATION}, f),
        lambda t, f: saved({"state_dict": t, "args": argparse.Namespace(**NORMALISATION)}, f),
    ],
)
def test_the_normalisation_is_the_checkpoints_own_where_it_has_one(
    tensors: Tensors, tmp_path: Path, write: Callable[[Tensors, Path], Path]
) -> None:
    found = network(write(tensors, tmp_path))
    assert (found.mean, found.std, found.interpolation) == ((0.5, 0.25, 0.125), (0.25, 0.5, 0.75), "bicubic")
    assert sum("is [0." in note or "is bicubic" in note for note in found.notes) == 3
    provenance = found.provenance(found.build())["pretrained_cfg"]
    assert {name: provenance[name] for name in NORMALISATION} == NORMALISATION
    given = network(found.checkpoint, mean=(0.1, 0.2, 0.3))  # an argument goes before the file
    assert (given.mean, given.std) == ((0.1, 0.2, 0.3), (0.25, 0.5, 0.75))


def test_recipe_and_provenance_say_the_same_of_the_input(checkpoint: Path) -> None:
    found = network(checkpoint, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation="lanczos")
    provenance = found.provenance(found.build())["pretrained_cfg"]
    for name in NORMALISATION:
        assert provenance[name] == found.to_json()[name]
    assert found.model_kwargs == {"num_classes": MODEL_KWARGS["num_classes"]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mean": (123.7, 116.3, 103.5)}, "three numbers for pixels in .* divide numbers .* by 255"),
        ({"std": (0.0, 0.2, 0.2)}, "the std must be three numbers"),
        ({"mean": (0.5,)}, "the mean must be three numbers"),
        ({"interpolation": "cubic"}, "interpolation must be one of .*bicubic.*, not 'cubic'"),
        ({"model_kwargs": {"pretrained_cfg_overlay": {"mean": [0, 0, 0]}}}, "pretrained_cfg_overlay .* give --mean"),
        ({"model_kwargs": {"checkpoint_path": "a.pth"}}, "checkpoint_path .* give --checkpoint FILE"),
        ({"model_kwargs": {"cache_dir": "/tmp/x"}}, "cache_dir .* give the environment variable HF_HUB_CACHE"),
        ({"model_kwargs": {"drop_path_rate": 0.1}}, "drop_path_rate=0.1 has no effect on labels; leave it out"),
        ({"model_kwargs": {"output_stride": None}}, "output_stride=None has no effect on labels; leave it out"),
    ],
)
def test_an_argument_that_is_wrong_or_would_be_ignored_is_refused(
    checkpoint: Path, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(AnnotateError, match=words):
        network(checkpoint, **arguments)
