"""Does any network of timm's say of each token what its own head says of it, with gradients, and in which grid?"""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from annotate.model.dense import DenseClassifier
from tokenlabel import LabelError, TokenTargets, token_label_loss, token_logits
from tokenlabel.models import LVViT

pytestmark = pytest.mark.usefixtures("single_threaded")

VIT = {"img_size": 64, "patch_size": 16, "depth": 1, "embed_dim": 48, "num_heads": 2}
# A network, its settings, and the side of its grid for 64 pixels.
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "ResNet": ("test_resnet", {}, 2),
    "ByobNet": ("test_byobnet", {}, 2),
    "ConvNeXt": ("test_convnext", {}, 2),
    "ConvNeXt 2": ("test_convnext2", {}, 2),
    "EfficientNet": ("test_efficientnet", {}, 2),
    "MobileNetV3": ("mobilenetv3_small_050", {}, 2),
    "MambaOut": ("test_mambaout", {}, 2),
    "NFNet": ("test_nfnet", {}, 2),
    "RegNet": ("regnetx_002", {}, 2),
    "GhostNet": ("ghostnet_050", {}, 2),
    "StarNet": ("starnet_s050", {}, 2),
    "RepViT": ("repvit_m1", {}, 2),
    "PVT 2": ("pvt_v2_b0", {}, 2),
    "Swin, NHWC": ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1)}, 2),
    "ViT, class token": ("vit_tiny_patch16_224", VIT, 4),
    "ViT, average and fc_norm": ("vit_tiny_patch16_224", {**VIT, "global_pool": "avg"}, 4),
    "ViT, attention pooling": ("vit_tiny_patch16_224", {**VIT, "global_pool": "map"}, 4),
    "ViT, registers": ("vit_tiny_patch16_224", {**VIT, "reg_tokens": 4}, 4),
    "ViT, no class token": ("vit_tiny_patch16_224", {**VIT, "class_token": False, "global_pool": "avg"}, 4),
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", VIT, 4),
    "EVA 2": ("eva02_tiny_patch14_224", {"img_size": 64, "patch_size": 16, "depth": 1}, 4),
    "Hiera": ("hiera_tiny_224", {"img_size": 64}, 2),
    "VOLO": ("volo_d1_224", {"img_size": 64}, 4),
}
AVERAGED = (
    "ResNet",
    "ByobNet",
    "RegNet",
    "GhostNet",
    "PVT 2",
    "Hiera",
    "Swin, NHWC",
)  # linear after the mean: the tokens' mean is the picture's


def made(family: str) -> Any:
    name, settings, _ = FAMILIES[family]
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10, **settings).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_token_is_answered_by_the_networks_own_head_with_gradients(family: str) -> None:
    model, side = made(family), FAMILIES[family][2]
    pixels = torch.randn(2, 3, 64, 64)
    picture, tokens, grid = token_logits(model, pixels)
    assert grid == (side, side)
    assert tokens.shape == (2, side * side, 10)
    torch.testing.assert_close(picture, model.forward_head(model.forward_features(pixels)))
    if family in AVERAGED:
        torch.testing.assert_close(tokens.mean(1), picture, rtol=1e-4, atol=1e-5)
    targets = TokenTargets(
        torch.zeros(2, 1 + side * side, 1, dtype=torch.int32),
        torch.full((2, 1 + side * side, 1), 0.9),
        torch.zeros(2, 1 + side * side, dtype=torch.bool),
    )
    token_label_loss(picture, tokens, targets, label=torch.tensor([1, 2])).backward()
    without = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert without == []


def test_no_family_is_tried_under_two_names() -> None:
    classes = {name: type(made(name)).__name__ for name in FAMILIES if not name.startswith("ViT")}
    assert len(set(classes.values()) | {"VisionTransformer"}) >= 17, classes


def test_the_norm_before_the_classifier_is_not_left_out() -> None:
    """Of average-pooled transformers, whose tokens' logits would be several times as large."""
    model = made("ViT, average and fc_norm")
    pixels = torch.randn(2, 3, 64, 64)
    tokens = model.forward_features(pixels)[:, model.num_prefix_tokens :]
    torch.testing.assert_close(token_logits(model, pixels).tokens, model.head(model.fc_norm(tokens)))
    assert not isinstance(model.fc_norm, nn.Identity)


def test_rows_and_columns_keep_their_places() -> None:
    model = timm.create_model("test_resnet", num_classes=10).eval()
    pixels = torch.randn(1, 3, 64, 160)
    _, tokens, grid = token_logits(model, pixels)
    assert grid == (2, 5)
    features = model.forward_features(pixels)
    third_of_second_row = model.forward_head(features[:, :, 1:2, 2:3])
    torch.testing.assert_close(tokens[:, 1 * 5 + 2], third_of_second_row)


@pytest.mark.parametrize("family", ["ResNet", "ConvNeXt", "Swin, NHWC", "ViT, average and fc_norm", "VOLO"])
def test_students_and_annotators_answer_alike(family: str) -> None:
    model, pixels = made(family), torch.randn(2, 3, 64, 64)
    expected = DenseClassifier(model, family)(pixels).flatten(1, 2)
    torch.testing.assert_close(token_logits(model, pixels).tokens, expected)


def test_lvvit_answers_by_its_head_for_tokens() -> None:
    model = LVViT(10, img_size=(32, 48), patch_size=8, embed_dim=32, depth=1, num_heads=2, stem_dim=8).eval()
    pixels = torch.randn(2, 3, 32, 48)
    answer = token_logits(model, pixels)
    torch.testing.assert_close(answer.tokens, model.logits(pixels)[1])
    assert answer.grid == (4, 6)


def test_a_network_without_logits_of_tokens_says_why() -> None:
    pixels = torch.zeros(2, 3, 64, 64)
    model = timm.create_model("test_resnet", num_classes=10)
    for wrong, said in (
        (nn.Linear(3, 3), "not a Linear"),
        (nn.DataParallel(model), r"not a DataParallel \(of a wrapper, give .module\)"),
        (timm.create_model("test_resnet", num_classes=0), "not a ResNet"),
    ):
        with pytest.raises(LabelError, match=f"takes a classifier with timm's forward_features .*, {said}"):
            token_logits(wrong, pixels)

    class Several(nn.Module):
        num_classes = 10

        def forward_features(self, pixels: torch.Tensor) -> Any:
            return {"patches": pixels}

    with pytest.raises(LabelError, match="Several has no logits of tokens: it answers from several sets of features"):
        token_logits(Several(), pixels)
