"""Which networks become students by a head for tokens, and what do those that cannot say?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from benchmarks.annotate.families import FAMILIES, build
from tests.annotate.model.test_families import TABLE
from tests.tokenlabel.models.contract import StudentPromises
from tokenlabel import Mixer, with_token_head
from tokenlabel.models import LVViT
from tokenlabel.train.checkpoint import load_weights

# One of each family that annotators accept, and of those that they refuse for their class token.
ACCEPTED = [
    names.split()[0] for names in FAMILIES.values() if not TABLE[names.split()[0]]["local"].startswith("refused")
]
BY_CLASS_TOKEN = ["deit_tiny_patch16_224", "cait_xxs24_224", "vit_tiny_patch16_dinov3_qkvb"]
# All of them take minutes: `make families`. These differ in what they give: maps of either layout, tokens, two sides.
SOME = ["test_vit2", "test_resnet", "test_convnext", "test_efficientnet", "test_nfnet", "swin_tiny_patch4_window7_224"]
SOME += ["deit_tiny_patch16_224", "cait_xxs24_224", "volo_d1_224", "mobilenetv3_small_050", "xcit_nano_12_p8_224"]
CHOSEN = [*ACCEPTED, *BY_CLASS_TOKEN] if os.environ.get("FAMILIES") == "all" else SOME


@pytest.fixture(params=CHOSEN, scope="module")  # each is built once, and then runs all tests
def built(request: pytest.FixtureRequest) -> tuple[nn.Module, tuple[int, int]]:
    return build(request.param)


class TestFamilies(StudentPromises):
    @pytest.fixture
    def size(self, built: tuple[nn.Module, tuple[int, int]]) -> tuple[int, int]:
        return built[1]

    @pytest.fixture
    def student(self, built: tuple[nn.Module, tuple[int, int]]) -> Any:
        student = with_token_head(built[0], img_size=built[1])
        nn.init.normal_(student.aux_head.weight, std=0.1)
        return student

    def test_tokens_lie_on_the_grid_of_the_last_map(self, student: Any, pixels: torch.Tensor) -> None:
        if student.pretrained_cfg["architecture"] != "mobilenetv5_base":  # which stretches its last map afterwards
            super().test_tokens_lie_on_the_grid_of_the_last_map(student, pixels)


@pytest.fixture
def vit() -> Any:
    return timm.create_model("test_vit", num_classes=5, img_size=(32, 64)).eval()


def test_its_first_answer_is_the_networks_own(vit: Any) -> None:
    pixels = torch.randn(2, 3, 32, 64)
    student = with_token_head(vit)
    assert student.token_grid == (2, 4)  # of the size that the network was made for
    assert torch.equal(student.eval()(pixels), vit(pixels))
    assert not student.logits(pixels)[1].any()


def test_measuring_leaves_the_network_as_it_was() -> None:
    network = timm.create_model("resnet18", num_classes=5).train()
    network.layer1.eval()  # frozen statistics
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with_token_head(network, img_size=64)
    assert network.training
    assert not network.layer1[0].bn1.training
    assert network.layer2[0].bn1.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_of_the_bare_network_load(vit: Any, tmp_path: Path) -> None:
    torch.save(vit.state_dict(), tmp_path / "bare.pt")
    student = with_token_head(timm.create_model("test_vit", num_classes=5, img_size=(32, 64)))
    nn.init.normal_(student.aux_head.weight)
    load_weights(student, tmp_path / "bare.pt")
    pixels = torch.randn(2, 3, 32, 64)
    assert torch.equal(student.eval()(pixels), vit(pixels))
    torch.save({**vit.state_dict(), "stranger": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(Exception, match="not those of this model"):
        load_weights(student, tmp_path / "other.pt")


def test_mixed_tokens_of_a_network_of_patches_are_swapped_tokens(vit: Any) -> None:
    """Without blocks and positions tokens depend only on themselves: swapped and given back, they are as before."""
    network = timm.create_model("test_vit", num_classes=5, img_size=(32, 64), depth=0).eval()
    nn.init.zeros_(network.pos_embed)
    student = with_token_head(network)
    nn.init.normal_(student.aux_head.weight)
    mixes = [Mixer((2, 4), 5, mixup=0, cutmix=0, mixtoken=1).draw(4, (32, 64), epoch=0, index=i) for i in range(20)]
    mix = next(mix for mix in mixes if 0 < float(mix.fractions[0, 0]) < 1)
    pixels = torch.randn(4, 3, 32, 64)
    assert torch.allclose(student.logits(pixels, mix)[1], student.logits(pixels)[1], atol=1e-6)
    assert not torch.equal(mix.tokens(pixels), pixels)


def test_another_size_has_another_grid(vit: Any) -> None:
    student = with_token_head(vit)
    student.set_input_size((48, 32))
    assert student.token_grid == (3, 2)
    assert student.train()(torch.zeros(2, 3, 48, 32))[1].shape == (2, 6, 5)
    cnn = with_token_head(timm.create_model("resnet18", num_classes=5), img_size=64)
    cnn.set_input_size(96)
    assert cnn.token_grid == (3, 3)


def test_weight_decay_spares_what_the_network_spares(vit: Any) -> None:
    student = with_token_head(vit)
    assert student.no_weight_decay() >= {"network.pos_embed", "network.cls_token"}
    assert student.no_weight_decay() & dict(student.named_parameters()).keys()
    assert with_token_head(timm.create_model("resnet18", num_classes=5), img_size=64).no_weight_decay() == set()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: timm.create_model("pit_ti_224", num_classes=5), "gives 0 tokens for 224x224 pixels, which form no"),
        (lambda: timm.create_model("crossvit_tiny_240", num_classes=5), "has no single map and no tokens before its"),
        (lambda: timm.create_model("test_vit", num_classes=0), "test_vit has no classifier; make it with num_classes"),
        (lambda: LVViT(5, img_size=32, depth=1), "LVViT is a student already, with a head for its tokens; train it"),
        (lambda: nn.Linear(2, 2), "Linear has no classifier"),
        (
            lambda: timm.create_model("test_vit", num_classes=5, global_pool=""),
            "test_vit does not give one vector of logits for a picture; make it with its pooling",
        ),
    ],
)
def test_what_has_no_tokens_or_no_classes_says_so(network: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_token_head(network())


def test_pictures_that_the_network_does_not_take_say_so(vit: Any) -> None:
    with pytest.raises(ValueError, match=r"test_vit does not take pictures of 40x64 pixels: .*; give the size that it"):
        with_token_head(vit, img_size=(40, 64))
