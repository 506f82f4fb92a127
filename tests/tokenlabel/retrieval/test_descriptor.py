"""Is a descriptor the pooling that it is said to be, of networks of every layout, and of unit length?"""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch.nn.functional import normalize

from tokenlabel import LabelError
from tokenlabel.models import VTFPN, LVViT, VTResNet
from tokenlabel.retrieval import Descriptor, Whitening

PIXELS = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def vit() -> Any:
    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=0, img_size=(32, 64)).eval()


@torch.no_grad()
def test_each_pooling_is_what_it_says(vit: Any) -> None:
    features = vit.forward_features(PIXELS)
    tokens = features[:, vit.num_prefix_tokens :]
    expected = {"token": features[:, 0], "mean": tokens.mean(1), "max": tokens.amax(1)}
    expected["gem"] = tokens.clamp(min=1e-6).pow(4).mean(1) ** 0.25
    for pooling, pooled in expected.items():
        describe = Descriptor(vit, pooling=pooling, power=4)  # type: ignore[arg-type]
        assert torch.allclose(describe(PIXELS), normalize(pooled, dim=1), atol=1e-6)
        assert describe.width == describe(PIXELS).shape[1]


@torch.no_grad()
def test_weights_leave_out_tokens_without_weight(vit: Any) -> None:
    tokens = vit.forward_features(PIXELS)[:, vit.num_prefix_tokens :]
    weights = torch.zeros(2, 8)
    weights[0, 3], weights[1, 5:7] = 1, 0.5
    found = Descriptor(vit, pooling="mean")(PIXELS, weights)
    assert torch.allclose(found[0], normalize(tokens[0, 3], dim=0), atol=1e-6)
    assert torch.allclose(found[1], normalize(tokens[1, 5:7].mean(0), dim=0), atol=1e-6)
    even = torch.full((2, 8), 1 / 8)
    for pooling in ("mean", "gem"):
        describe = Descriptor(vit, pooling=pooling)  # type: ignore[arg-type]
        assert torch.allclose(describe(PIXELS, even), describe(PIXELS), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "size", "grid"),
    [
        ("test_vit", {"img_size": (64, 32)}, (64, 32), (4, 2)),
        ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1)}, (64, 64), (2, 2)),
        ("test_resnet", {}, (32, 96), (1, 3)),
        ("deit_tiny_distilled_patch16_224", {"img_size": 64, "depth": 1}, (64, 64), (4, 4)),
        ("vit_relpos_small_patch16_224", {"img_size": 64, "depth": 1}, (64, 64), (4, 4)),
    ],
)
@torch.no_grad()
def test_networks_of_every_layout_are_described(
    name: str, options: dict[str, Any], size: tuple[int, int], grid: tuple[int, int]
) -> None:
    network = timm.create_model(name, num_classes=0, **options).eval()
    describe = Descriptor(network, pooling="mean")
    pixels = torch.randn(2, 3, *size)
    assert describe.token_grid(size) == grid
    found = describe(pixels, torch.full((2, grid[0] * grid[1]), 1 / (grid[0] * grid[1])))
    assert found.shape == (2, network.num_features)
    assert torch.allclose(found.norm(dim=1), torch.ones(2))
    assert not torch.allclose(found[0], found[1])


@torch.no_grad()
def test_pooling_all_tokens_is_timms_own_where_timm_does_the_same(vit: Any) -> None:
    network = timm.create_model("vit_relpos_small_patch16_224", num_classes=0, img_size=64, depth=1).eval()
    pixels = torch.randn(2, 3, 64, 64)
    assert torch.allclose(Descriptor(network, pooling="mean")(pixels), normalize(network(pixels), dim=1), atol=1e-5)


def test_a_student_is_described_too_and_whitened() -> None:
    student = LVViT(5, img_size=32, embed_dim=24, depth=1, num_heads=2, stem_dim=8)
    whitening = Whitening.fit(normalize(torch.randn(40, 24), dim=1), 6)
    describe = Descriptor(student, whitening=whitening)
    assert (describe.width, describe(PIXELS[..., :32]).shape) == (6, (2, 6))
    with torch.autocast("cpu", torch.bfloat16):
        assert describe(PIXELS[..., :32]).dtype == torch.float32


@torch.no_grad()
def test_students_of_visual_tokens_are_described_by_what_they_classify_by() -> None:
    small = {"channels": (8, 8, 8, 8), "token_width": 12}
    for student in (
        VTResNet(5, img_size=64, layers=(1, 1, 1), channels=(8, 8, 12)),
        VTFPN(5, img_size=64, layers=(1, 1, 1, 1), width=8, branch_width=8, **small),  # type: ignore[arg-type]
    ):
        describe, pixels = Descriptor(student.eval(), pooling="mean"), torch.randn(2, 3, 64, 64)
        expected = student.forward_head(student.forward_features(pixels), pre_logits=True)
        assert torch.allclose(describe(pixels), normalize(expected, dim=1), atol=1e-6)
        assert describe.width == 12
        with pytest.raises(LabelError, match="does not say how its tokens lie in the picture, which pooling by labels"):
            describe.token_grid((64, 64))


@torch.no_grad()
def test_features_are_pooled_in_float32_under_autocast(vit: Any) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        tokens = vit.forward_features(PIXELS)[:, vit.num_prefix_tokens :].float()
        found = Descriptor(vit, pooling="mean")(PIXELS)
    assert torch.allclose(found, normalize(tokens.mean(1), dim=1), atol=1e-6)


def test_what_cannot_be_pooled_is_refused(vit: Any) -> None:
    with pytest.raises(LabelError, match="pooling must be one of token, mean, max, gem, not 'avg'"):
        Descriptor(vit, pooling="avg")  # type: ignore[arg-type]
    with pytest.raises(LabelError, match='ResNet has no class token; give pooling="mean", "max" or "gem"'):
        Descriptor(timm.create_model("test_resnet", num_classes=0))
    with pytest.raises(LabelError, match="the power of a generalised mean must be positive, not 0"):
        Descriptor(vit, pooling="gem", power=0)
    with pytest.raises(LabelError, match=r"weights \[2, 5\] were given for tokens \[2, 8\]; make targets for the grid"):
        Descriptor(vit, pooling="mean")(PIXELS, torch.ones(2, 5))
    with pytest.raises(LabelError, match='tokens are weighted by pooling="mean" or "gem", not by \'token\''):
        Descriptor(vit)(PIXELS, torch.ones(2, 8))
    pit = timm.create_model("pit_ti_224", num_classes=0)
    with pytest.raises(LabelError, match='PoolingVisionTransformer gives its class token alone; give pooling="token"'):
        Descriptor(pit, pooling="mean")(torch.zeros(1, 3, 224, 224))
    crossvit = timm.create_model("crossvit_tiny_240", num_classes=0)
    with pytest.raises(LabelError, match="gives neither tokens nor a map, which a descriptor is made of"):
        Descriptor(crossvit, pooling="mean")(torch.zeros(1, 3, 240, 240))
