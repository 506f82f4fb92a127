"""Are the weights of a file found under whatever names it gives them, with the grid of their positions?"""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from tokenlabel import LabelError, with_token_head
from tokenlabel.models import LVViT
from tokenlabel.train.checkpoint import load_weights


class Module(nn.Module):
    """A module that has the student inside, as Lightning's have, DistributedDataParallel and compiled models."""

    def __init__(self, **inside: nn.Module) -> None:
        super().__init__()
        for name, module in inside.items():
            self.add_module(name, module)
        self.register_buffer("steps", torch.zeros(()))


def lvvit(rows: int, columns: int) -> LVViT:
    size = (8 * rows, 8 * columns)
    return LVViT(4, img_size=size, patch_size=8, embed_dim=32, depth=1, num_heads=2, stem_dim=8)


@pytest.mark.parametrize(("name", "said"), [("model", "'model.' was left"), ("module", ""), ("_orig_mod", "")])
def test_the_student_is_found_inside_another_module_and_keeps_its_grid(
    name: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained, loaded, expected = lvvit(4, 9), lvvit(6, 6), lvvit(6, 6)
    state = Module(**{name: trained}).state_dict()
    if not said:
        del state["steps"]  # what wraps a model has nothing of its own
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    load_weights(loaded, tmp_path / "last.ckpt")
    expected.load_state_dict(trained.state_dict())
    torch.testing.assert_close(dict(loaded.state_dict()), dict(expected.state_dict()))
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


def test_a_bare_network_is_found_inside_another_module(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=4)
    torch.save({"state_dict": Module(model=network).state_dict()}, tmp_path / "last.ckpt")
    student = with_token_head(timm.create_model("test_resnet", num_classes=4), img_size=32)
    load_weights(student, tmp_path / "last.ckpt")
    torch.testing.assert_close(dict(student.network.state_dict()), dict(network.state_dict()))


def test_a_bare_network_of_other_classes_keeps_all_but_its_head(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=7)
    torch.save(network.state_dict(), tmp_path / "seven.pt")
    student = with_token_head(timm.create_model("test_resnet", num_classes=4), img_size=32)
    head = student.network.fc.weight.clone()
    load_weights(student, tmp_path / "seven.pt", classes=4)
    assert torch.equal(student.network.conv1[0].weight, network.conv1[0].weight)
    assert torch.equal(student.network.fc.weight, head)


def test_a_file_with_two_of_the_students_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": Module(model=lvvit(4, 4), ema=lvvit(4, 4)).state_dict()}, tmp_path / "last.ckpt")
    with pytest.raises(LabelError, match=r"this model under several names, 'ema\.' and 'model\.'; give a file with"):
        load_weights(lvvit(4, 4), tmp_path / "last.ckpt")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    other = timm.create_model("test_resnet", num_classes=4)
    torch.save({"state_dict": Module(model=other).state_dict()}, tmp_path / "last.ckpt")
    with pytest.raises(LabelError, match=r"last\.ckpt are not those of this model"):
        load_weights(lvvit(4, 4), tmp_path / "last.ckpt")
