"""Is T2T-ViT the published one: its names, its sizes, its positions?"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import timm
import torch
from torch import nn

import tokenlabel.models
from tests.tokenlabel.models.contract import CLASSES, StudentContract
from tokenlabel.models import T2TViT

FROZEN = {"pos_embed", "tokens_to_token.attention1.w", "tokens_to_token.attention2.w"}


class TestPerformer(StudentContract):
    unused: ClassVar[set[str]] = FROZEN

    def make(self, size: tuple[int, int]) -> Any:
        return T2TViT(CLASSES, img_size=size, embed_dim=24, depth=2, num_heads=2)


class TestTransformer(StudentContract):
    unused: ClassVar[set[str]] = {"pos_embed"}

    def make(self, size: tuple[int, int]) -> Any:
        return T2TViT(CLASSES, img_size=size, embed_dim=24, depth=2, num_heads=2, token_layer="transformer")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("t2t_vit_7", 4_310_222),
        ("t2t_vit_10", 5_889_230),
        ("t2t_vit_12", 6_941_902),
        ("t2t_vit_14", 21_545_550),
        ("t2t_vit_19", 39_177_422),
        ("t2t_vit_24", 64_105_934),
        ("t2t_vit_t_14", 21_541_070),
        ("t2t_vit_t_19", 39_172_942),
        ("t2t_vit_t_24", 64_101_454),
        ("t2t_vit_14_resnext", 21_545_550),
        ("t2t_vit_14_wide", 25_156_302),
    ],
)
def test_without_the_head_for_tokens_a_size_has_the_published_number_of_weights(name: str, count: int) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    counted = {part: weight.numel() for part, weight in model.named_parameters()}
    assert sum(size for part, size in counted.items() if not part.startswith("aux_head.")) == count
    assert counted["aux_head.weight"] == 1000 * model.embed_dim
    assert model.blocks[0].attn.num_heads == {"t2t_vit_14_resnext": 32, "t2t_vit_14_wide": 12}.get(
        name, model.embed_dim // 64
    )


@pytest.mark.parametrize(("name", "trained"), [("t2t_vit_7", 4_255_694), ("t2t_vit_14", 21_465_806)])
def test_positions_and_random_directions_are_not_trained(name: str, trained: int) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    learnt = {part: weight.numel() for part, weight in model.named_parameters() if weight.requires_grad}
    assert sum(size for part, size in learnt.items() if not part.startswith("aux_head.")) == trained
    assert not learnt.keys() & FROZEN


@pytest.mark.parametrize("layer", ["performer", "transformer"])
def test_weights_have_the_published_names(layer: str) -> None:
    both = ("weight", "bias")
    performer = ["norm1", "norm2", "kqv", "proj", "mlp.0", "mlp.2"]
    transformer = ["norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2"]
    inside = [f"{name}.{part}" for name in (performer if layer == "performer" else transformer) for part in both]
    inside += ["w"] if layer == "performer" else ["attn.qkv.weight"]
    blocks = [f"{name}.{part}" for name in ("norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2") for part in both]
    assert set(T2TViT(5, img_size=32, depth=1, token_layer=layer).state_dict()) == {
        "cls_token",
        "pos_embed",
        *(f"tokens_to_token.attention{n}.{name}" for n in (1, 2) for name in inside),
        *(f"{name}.{part}" for name in ("tokens_to_token.project", "norm", "head", "aux_head") for part in both),
        *(f"blocks.0.{name}" for name in (*blocks, "attn.qkv.weight")),
    }


def test_positions_are_sinusoids_over_the_sequence_with_the_class_token_first() -> None:
    positions = T2TViT(5, img_size=(32, 48), embed_dim=8, depth=1, num_heads=2).pos_embed
    assert positions.shape == (1, 7, 8)
    for p in range(7):
        for j in range(8):
            angle = p / 10000 ** (2 * (j // 2) / 8)
            assert float(positions[0, p, j]) == pytest.approx((math.cos if j % 2 else math.sin)(angle), abs=1e-6)


def test_blocks_scale_by_the_width_of_a_head_and_norm_with_pytorchs_epsilon() -> None:
    model = timm.create_model("t2t_vit_14", img_size=32)
    assert model.blocks[0].attn.scale == pytest.approx(64**-0.5)  # not 384 ** -0.5, as the authors' pretrained=True has
    norms = [module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 4 + 2 * 14 + 1
    assert set(norms) == {1e-5}


def test_published_weights_without_a_head_for_tokens_answer_by_the_class_head() -> None:
    published = T2TViT(5, img_size=64, embed_dim=24, depth=1, num_heads=2)
    weights = {name: value for name, value in published.state_dict().items() if not name.startswith("aux_head.")}
    loaded = T2TViT(5, img_size=64, embed_dim=24, depth=1, num_heads=2).eval()
    loaded.load_state_dict(weights)
    pixels = torch.randn(2, 3, 64, 64)
    assert torch.equal(loaded(pixels), published.eval().logits(pixels)[0])
    larger = T2TViT(5, img_size=(96, 64), embed_dim=24, depth=1, num_heads=2)
    larger.load_state_dict(weights)
    assert larger.pos_embed.shape == (1, 25, 24)
    assert not larger.pos_embed.requires_grad
    with pytest.raises(RuntimeError, match="cls_token"):  # what is no such file is refused as before
        loaded.load_state_dict({"norm.weight": torch.ones(24)})


def test_new_weights_are_drawn_and_positions_stay() -> None:
    model = T2TViT(5, img_size=32, embed_dim=24, depth=1, num_heads=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"tokens_to_token.attention1.w", "tokens_to_token.project.weight", "head.weight", "cls_token"} <= changed
    assert "pos_embed" not in changed


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(ValueError, match="40x32 pixels cannot be divided into patches of 16; give a size whose"):
        T2TViT(5, img_size=(40, 32))
    with pytest.raises(ValueError, match="makes tokens of 16x16 pixels by its three steps, and no others: 8"):
        T2TViT(5, patch_size=8)
    with pytest.raises(ValueError, match="token_layer must be one of performer, transformer, not 'softmax'"):
        T2TViT(5, token_layer="softmax")
    with pytest.raises(ValueError, match=r"pictures of 64x64 pixels were given to a model for 32x32; make it with"):
        T2TViT(5, img_size=32, depth=1)(torch.zeros(1, 3, 64, 64))


def test_timm_lists_all_sizes() -> None:
    assert tokenlabel.models.T2TViT is T2TViT
    assert len(timm.list_models("t2t_vit*")) == 11
