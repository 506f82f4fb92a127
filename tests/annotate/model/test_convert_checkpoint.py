"""Do weights of another project get the right names, and is what does not fit refused with its first difference?"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from annotate import AnnotateError, convert_checkpoint

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet").eval()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():  # every tensor is its own, also those of batch normalisation
            tensor.copy_(torch.rand_like(tensor) + ("var" in name))
    return model


def _saved(tensors: object, folder: Path) -> Path:
    torch.save(tensors, folder / "theirs.pth")
    return folder / "theirs.pth"


def _renamed(network: torch.nn.Module) -> Tensors:
    """The network's weights as another project would name them."""
    state = network.state_dict()
    return {f"_net.{number}.{name.rpartition('.')[2]}": tensor for number, (name, tensor) in enumerate(state.items())}


@pytest.mark.parametrize(
    "wrap", [lambda found: found, lambda found: {"state_dict": found}, lambda found: {"model": found}]
)
def test_a_converted_network_answers_as_the_original(
    network: torch.nn.Module, wrap: Callable[[Tensors], object], tmp_path: Path
) -> None:
    converted = convert_checkpoint(_saved(wrap(_renamed(network)), tmp_path), "test_resnet")
    other = timm.create_model("test_resnet").eval()
    other.load_state_dict(converted)
    pictures = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(other(pictures), network(pictures))


def test_the_counters_of_batch_normalisation_may_be_left_out(network: torch.nn.Module, tmp_path: Path) -> None:
    theirs = {name: tensor for name, tensor in _renamed(network).items() if "num_batches" not in name}
    converted = convert_checkpoint(_saved(theirs, tmp_path), "test_resnet")
    assert converted.keys() == network.state_dict().keys()
    assert all(torch.equal(converted[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda names: {**names, "_net.0.weight": torch.zeros(8, 3, 7, 7)},
            r"tensor 1 differs. The checkpoint has '_net.0.weight' \[8, 3, 7, 7\], the network 'conv1.0.weight'",
        ),
        (
            lambda names: dict(list(names.items())[:-1]),
            r"tensor 92 differs. Only the network has 'fc.bias' \[1000\]. The checkpoint has 91 tensors",
        ),
        (
            lambda names: {**names, "head.scale": torch.zeros(3)},
            r"tensor 93 differs. Only the checkpoint has 'head.scale' \[3\]",
        ),
        (  # batch normalisation: four vectors of one shape
            lambda names: {name.replace("_net.3.running_mean", "_net.3.running_var"): t for name, t in names.items()},
            r"tensor 4 differs. The checkpoint has '_net.3.running_var' \[\d+\], the network 'conv1.1.running_mean'",
        ),
    ],
)
def test_the_first_tensor_that_differs_is_named(
    network: torch.nn.Module, change: Callable[[Tensors], Tensors], expected: str, tmp_path: Path
) -> None:
    path = _saved(change(_renamed(network)), tmp_path)
    with pytest.raises(AnnotateError, match=expected):
        convert_checkpoint(path, "test_resnet")


def test_a_file_that_keeps_no_order_is_refused(network: torch.nn.Module, tmp_path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "a.safetensors")
    with pytest.raises(AnnotateError, match="sorts its tensors by name.*Give the file that torch.save wrote"):
        convert_checkpoint(tmp_path / "a.safetensors", "test_resnet")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (["weights"], "holds no state dict: .* found list"),
        ({"epoch": 3}, "holds no state dict: .* found dict with 'epoch'"),
        (Path, "is not a checkpoint of tensors that torch.save wrote"),  # a pickle that holds more than tensors
    ],
)
def test_what_is_no_checkpoint_is_refused(content: object, expected: str, tmp_path: Path) -> None:
    path = _saved(content, tmp_path)
    with pytest.raises(AnnotateError, match=f"{re.escape(str(path))} {expected}"):
        convert_checkpoint(path, "test_resnet")


def test_a_missing_file_and_an_unknown_network_are_named(network: torch.nn.Module, tmp_path: Path) -> None:
    with pytest.raises(AnnotateError, match="cannot read the checkpoint .*nowhere.pth: No such file"):
        convert_checkpoint(tmp_path / "nowhere.pth", "test_resnet")
    with pytest.raises(AnnotateError, match="did you mean .*test_resnet"):
        convert_checkpoint(_saved(_renamed(network), tmp_path), "test_resnets")
