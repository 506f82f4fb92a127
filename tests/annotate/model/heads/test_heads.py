"""Does each kind of head answer at a location as if it looked there alone, and on average as the network does?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.models.vgg import VGG
from torch import nn

from annotate.errors import AnnotateError
from annotate.model.dense import DenseClassifier
from benchmarks.annotate.families import randomise

VIT = {"img_size": (64, 32), "patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3}
EVA = {**VIT, "use_abs_pos_emb": False, "use_rot_pos_emb": True}
CLASS_TOKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("vit_tiny_patch16_224", VIT),
    "registers, LayerScale, norm of queries": (
        "vit_tiny_patch16_224",
        {**VIT, "reg_tokens": 4, "init_values": 0.3, "qk_norm": True},
    ),
    "CLIP, a norm first": ("vit_tiny_patch16_224", {**VIT, "pre_norm": True, "norm_layer": nn.LayerNorm}),
    "gated MLP": ("vit_tiny_patch16_224", {**VIT, "mlp_layer": timm.layers.SwiGLU}),
    "rotary positions": ("vit_small_patch16_rope_224", {**EVA, "global_pool": "token"}),
    "DINOv3, registers and rotary positions": ("vit_tiny_patch16_dinov3_qkvb", {**EVA, "global_pool": "token"}),
}
OTHERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", VIT, "class token"),
    "CaiT": ("cait_xxs24_224", VIT, "class token"),
    "XCiT": ("xcit_nano_12_p8_224", {"img_size": (64, 32), "depth": 1}, "class token"),
    "BEiT, relative positions": ("beit_base_patch16_224", {**VIT, "global_pool": "token"}, "class token"),
    "PE, class token and query": (
        "vit_pe_core_tiny_patch16_384",
        {"img_size": (64, 32), "embed_dim": 48, "depth": 1, "num_heads": 3},
        "query",
    ),
    "SigLIP": ("vit_tiny_patch16_224", {**VIT, "class_token": False, "global_pool": "map"}, "query"),
    "CLIP ResNet": ("resnet50_clip", {}, "query"),
}
SIZE = (64, 32)


def network(name: str, settings: dict[str, Any]) -> Any:
    """A network of float64 with random weights, none of them trivial, whose locations differ."""
    torch.manual_seed(0)
    model = randomise(timm.create_model(name, num_classes=7, **settings)).double()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight *= 4
    return model


def pixels() -> torch.Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1)).double()


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


class WithMean(nn.Module):
    """A probe of DINOv2's kind: one linear layer over the class token and the mean of the patches."""

    def __init__(self) -> None:
        super().__init__()
        settings = {**VIT, "num_classes": 0, "reg_tokens": 2}
        self.backbone: Any = randomise(timm.create_model("vit_tiny_patch16_224", **settings))
        self.num_prefix_tokens, self.num_features, self.num_classes = 3, 48, 7
        self.feature_info = self.backbone.feature_info
        self.head = nn.Linear(96, 7)

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.backbone.forward_features(pixels)

    def forward_head(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([tokens[:, 0], tokens[:, 3:].mean(1)], 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(pixels))


@pytest.mark.parametrize("case", CLASS_TOKEN)
@torch.inference_mode()
def test_the_last_block_answers_as_if_all_but_one_location_were_hidden_from_the_class_token(case: str) -> None:
    """The reference is timm's own forward of the whole last block, with a mask."""
    model = network(*CLASS_TOKEN[case])
    found = DenseClassifier(model, case)(pixels())
    given: list[tuple[torch.Tensor, dict[str, Any]]] = []
    hook = model.blocks[-1].register_forward_pre_hook(
        lambda _, args, kwargs: given.append((args[0], kwargs)), with_kwargs=True
    )
    model(pixels())
    hook.remove()
    tokens, others = given[0]
    assert found.shape == (2, 4, 2, 7)
    for place in range(8):
        mask = torch.ones(1, 1, tokens.shape[1], tokens.shape[1], dtype=torch.bool)
        mask[:, :, 0] = False
        mask[:, :, 0, model.num_prefix_tokens + place] = True
        alone = model.forward_head(model.norm(model.blocks[-1](tokens, **{**others, "attn_mask": mask})))
        assert apart(found.flatten(1, 2)[:, place], alone) < 1e-13


@pytest.mark.parametrize("case", [*CLASS_TOKEN, *OTHERS])
@torch.inference_mode()
def test_held_answers_average_to_the_networks_own_and_differ_between_locations(case: str) -> None:
    name, settings, rule = (*CLASS_TOKEN[case], "class token") if case in CLASS_TOKEN else OTHERS[case]
    model = network(name, settings)
    local, frozen = (DenseClassifier(model, case, head) for head in ("local", "frozen"))
    own, answers = model(pixels()), frozen(pixels())
    assert apart(answers.mean((1, 2)), own) < 1e-12
    assert answers.std((1, 2)).min() > 1e-6
    assert answers.shape == local(pixels()).shape == (2, *frozen.consistency(SIZE)[0], 7)
    assert str(frozen.consistency(SIZE)[2]) == f"exact by {rule}"
    assert str(local.consistency(SIZE)[2]).endswith(f" by {rule}")


@torch.inference_mode()
def test_a_query_that_looks_at_one_location_answers_as_the_head_for_that_token() -> None:
    model = network("vit_tiny_patch16_224", {**VIT, "class_token": False, "global_pool": "map"})
    tokens = model.forward_features(pixels())
    alone = torch.stack([model.forward_head(tokens[:, place : place + 1]) for place in range(8)], 1)
    assert apart(DenseClassifier(model, "siglip")(pixels()).flatten(1, 2), alone) < 1e-13


@torch.inference_mode()
def test_class_token_and_mean_together_are_affine_so_that_local_is_frozen() -> None:
    model = WithMean().double()
    local, frozen = (DenseClassifier(model, "probe", head) for head in ("local", "frozen"))
    tokens = model.forward_features(pixels())
    beside = torch.cat([tokens[:, :1].expand(-1, 8, -1), tokens[:, 3:]], 2)
    assert apart(local(pixels()).flatten(1, 2), model.head(beside)) < 1e-13
    assert apart(frozen(pixels()), local(pixels())) < 1e-13
    assert apart(local(pixels()).mean((1, 2)), model(pixels())) < 1e-13
    assert str(local.consistency(SIZE)[2]) == "exact by class token and mean"


@torch.inference_mode()
def test_a_norm_after_class_token_and_mean_is_held() -> None:
    torch.manual_seed(0)
    model = WithMean()
    model.head = nn.Sequential(nn.LayerNorm(96), model.head)
    model.double()
    frozen, local = (DenseClassifier(model, "probe", head)(pixels()) for head in ("frozen", "local"))
    assert apart(frozen.mean((1, 2)), model(pixels())) < 1e-13
    assert apart(local.mean((1, 2)), model(pixels())) > 1e-6


@torch.inference_mode()
def test_asking_changes_nothing_in_the_network_and_needs_no_fused_attention() -> None:
    model = network("vit_tiny_patch16_224", VIT)
    own, fused = model(pixels()), DenseClassifier(model, "vit", "frozen")(pixels())
    for layer in model.modules():
        if hasattr(layer, "fused_attn"):
            layer.fused_attn = False
    assert apart(DenseClassifier(model, "vit", "frozen")(pixels()), fused) < 1e-13
    assert apart(model(pixels()), own) < 1e-13


@torch.inference_mode()
def test_two_sizes_in_turn_keep_their_own_rotary_positions() -> None:
    model = network("vit_tiny_patch16_dinov3_qkvb", {**EVA, "global_pool": "token", "dynamic_img_size": True})
    dense = DenseClassifier(model, "dinov3", "frozen")
    large = torch.randn(1, 3, 96, 48).double()
    features = dense._own.features(large)
    dense(pixels())
    assert apart(dense._own.frozen(features, (6, 3)).mean((1, 2)), model(large)) < 1e-12


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("tnt_s_legacy_patch16_224", {"depth": 1}, "its last block takes more than one set of tokens"),
        ("crossvit_tiny_240", {}, "has no last block in which that looks at locations"),
        ("convit_tiny", {"depth": 1, "local_up_to_layer": 0}, "it asks its locations in 0 attention calls"),
    ],
)
def test_a_class_token_that_asks_in_no_known_way_is_refused(name: str, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(AnnotateError, match=f"has no faithful dense answer: .*{why}"):
        DenseClassifier(timm.create_model(name, num_classes=7, **settings), name).consistency(
            (240, 240) if "cross" in name else (224, 224)
        )


def test_vgg_answers_for_each_window_of_its_map_and_says_what_input_has_any() -> None:
    torch.manual_seed(0)
    model = randomise(VGG([8, "M", 8, "M", 8, "M", 8, "M", 8, "M"], num_classes=7))
    dense = DenseClassifier(model, "vgg")
    grid, _, consistency = dense.consistency((288, 256))
    assert (grid, str(consistency)) == ((3, 2), "exact")
    box = dense.grid_box((288, 256), grid)  # the middles of windows of 7x7 cells of 32 pixels
    edges = [box.top * 288, box.bottom * 288, box.left * 256, box.right * 256]
    assert edges == pytest.approx([96, 192, 96, 160], abs=8)  # the phase is measured, to a quarter of a cell
    with pytest.raises(
        AnnotateError, match="windows of 7x7 of its map, which is 8x4 here. Give an input of at least 224"
    ):
        dense.consistency((256, 128))


@pytest.mark.parametrize("name", ["efficientvim_m1", "efficientvim_m1_dist"])
@torch.inference_mode()
def test_fused_stages_are_affine_so_that_local_is_frozen(name: str) -> None:
    torch.manual_seed(0)
    model = randomise(timm.create_model(name, num_classes=7)).double()
    local, frozen = (DenseClassifier(model, name, head) for head in ("local", "frozen"))
    noise = torch.randn(2, 3, 200, 128, generator=torch.Generator().manual_seed(1)).double()
    found = local(noise)
    assert found.shape == (2, 4, 2, 7)
    assert apart(found.mean((1, 2)), model(noise)) < 1e-13
    assert apart(frozen(noise), found) < 1e-13
    *states, tokens = model.forward_features(noise)
    for place in range(8):  # the last stage's map consists of this location alone
        alone = model.forward_head([*states, tokens[:, :, place : place + 1]])
        assert apart(found.flatten(1, 2)[:, place], alone) < 1e-13


def test_fused_stages_have_the_grid_of_the_last_ones_map() -> None:
    torch.manual_seed(0)
    model = randomise(timm.create_model("efficientvim_m1", num_classes=7))
    box = DenseClassifier(model, "efficientvim_m1").grid_box((256, 128), (4, 2))
    middle = (box.top + box.bottom) * 128, (box.left + box.right) * 64
    assert middle == pytest.approx((128 - 31.5, 64 - 31.5))  # each stride of its convolutions pads on both sides


@torch.inference_mode()
def test_merged_tokens_form_a_coarser_grid() -> None:
    model = randomise(timm.create_model("qwen3_vit_88m_merge", num_classes=7, depth=1)).double()
    dense = DenseClassifier(model, "merged", "frozen")
    grid, _, consistency = dense.consistency((128, 64))
    assert (grid, consistency.exact, dense.steps((128, 64), grid)) == ((4, 2), True, (32.0, 32.0))
    picture = torch.zeros(1, 3, 128, 64).double()
    changed = picture.clone()
    changed[:, :, 96:, :32] = 2
    features = [dense._own.features(each)[0] for each in (picture, changed)]
    assert (features[1] - features[0]).norm(dim=1).argmax() == 3 * 2 + 0


def trained(step: Callable[[Any], torch.Tensor], model: Any, steps: int) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        step(model).backward()
        optimiser.step()


def test_a_class_token_network_that_learned_colours_finds_each_in_its_quadrant() -> None:
    torch.manual_seed(0)
    model: Any = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=4,
        **{**VIT, "img_size": 64, "depth": 1, "reg_tokens": 2, "init_values": 0.5, "qk_norm": True},
    )
    colours = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]])

    def step(model: Any) -> torch.Tensor:
        classes = torch.randint(4, (16,))
        flat = colours[classes][:, :, None, None].expand(-1, -1, 64, 64)
        return nn.functional.cross_entropy(model(flat + 0.1 * torch.randn(16, 3, 64, 64)), classes)

    trained(step, model, 60)
    picture = torch.empty(1, 3, 64, 64)
    expected = torch.tensor([[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2)
    for row in range(4):
        for column in range(4):
            colour = colours[expected[row, column]][:, None, None]
            picture[0, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = colour
    with torch.inference_mode():
        found = DenseClassifier(model, "colours")(picture).softmax(-1)[0]
        held = DenseClassifier(model, "colours", "frozen")(picture)[0]
    assert found.argmax(-1).equal(expected)
    assert found.max(-1).values.min() > 0.5
    assert (held - held.mean((0, 1))).argmax(-1).equal(expected)  # what a location adds to the whole picture's answer
