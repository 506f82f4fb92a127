"""Is the dense answer the network's own, and said to be no more than it is?"""

from __future__ import annotations

import pytest
import timm
import torch

from annotate.errors import AnnotateError
from annotate.model.dense import DenseClassifier
from annotate.model.heads.pooled_mean import PooledMean
from benchmarks.annotate.families import randomise

SIZE = (96, 64)


def network(name: str, **kwargs: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return randomise(timm.create_model(name, num_classes=23, **kwargs))


@pytest.mark.parametrize(
    "name", ["resnet18", "resnetv2_50", "nfnet_l0", "dm_nfnet_f0", "efficientnet_b0", "regnety_002"]
)
def test_the_mean_over_locations_is_the_networks_own_answer(name: str) -> None:
    model = network(name)
    dense = DenseClassifier(model, name)
    pixels = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits, own = dense(pixels), model(pixels)
    assert logits.shape == (2, SIZE[0] // 32, SIZE[1] // 32, 23)
    assert logits.std(dim=(1, 2)).mean() > 0.01 * own.std()  # locations differ, so that the mean says something
    scale = own.abs().max().clamp(min=1)
    assert (logits.mean((1, 2)) - own).abs().max() / scale < 1e-4
    grid, classes, consistency = dense.consistency(SIZE)
    assert (grid, classes, str(consistency)) == ((3, 2), 23, "exact")


def test_channels_last_features_keep_rows_and_columns() -> None:
    model = network("swin_tiny_patch4_window7_224", img_size=(128, 64), window_size=2, depths=(1, 1, 1, 1))
    grid, _, consistency = DenseClassifier(model, "swin").consistency((128, 64))
    assert grid == (4, 2)
    assert consistency.exact


def test_tokens_with_average_pooling_form_their_grid() -> None:
    model = network("vit_tiny_patch16_224", img_size=SIZE, global_pool="avg", fc_norm=False, depth=2)
    grid, _, consistency = DenseClassifier(model, "vit").consistency(SIZE)
    assert grid == (6, 4)
    assert consistency.exact


def test_a_norm_after_the_pooling_is_said_to_be_approximate() -> None:
    _, _, consistency = DenseClassifier(network("convnext_atto"), "convnext_atto").consistency(SIZE)
    assert not consistency.exact
    assert str(consistency).startswith("approximate (")
    assert 1e-3 < consistency.deviation < 1


def test_a_class_token_is_said_to_answer_by_what_it_gets_from_each_location() -> None:
    model = network("vit_tiny_patch16_224", img_size=SIZE, depth=1)
    grid, classes, consistency = DenseClassifier(model, "vit_tiny").consistency(SIZE)
    assert (grid, classes, consistency.rule) == ((6, 4), 23, "class token")
    assert str(consistency).endswith(" %) by class token")


def test_another_pooling_is_refused_with_the_reason() -> None:
    model = network("vit_tiny_patch16_224", depth=1, global_pool="max")
    with pytest.raises(AnnotateError, match="vit_tiny has no faithful dense answer: it pools by 'max'"):
        DenseClassifier(model, "vit_tiny")


def test_a_network_without_classifier_is_refused() -> None:
    with pytest.raises(AnnotateError, match="it has no classifier"):
        DenseClassifier(timm.create_model("test_resnet", num_classes=0), "test_resnet")


def test_an_input_that_the_network_does_not_take_is_a_clear_error() -> None:
    model = network("vit_tiny_patch16_224", global_pool="avg", depth=1)
    with pytest.raises(AnnotateError, match="does not answer on a 96x64 input"):
        DenseClassifier(model, "vit_tiny").consistency(SIZE)


def test_a_head_that_ignores_its_norm_would_be_noticed() -> None:
    """The published recipe puts the classifier's weights on the map and leaves out the head's norm."""

    class Careless(PooledMean):
        def local(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
            return model.head.fc(features.permute(0, 2, 3, 1))

    model = network("convnext_atto")
    careful = DenseClassifier(model, "convnext_atto").consistency(SIZE)[2].deviation
    dense = DenseClassifier(model, "convnext_atto")
    dense._own = Careless(model)
    assert dense.consistency(SIZE)[2].deviation > careful


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", (256, 320)),
        ("regnetx_002", (256, 256)),
        ("resnet50d", (256, 256)),
        ("nf_regnet_b0", (256, 256)),
        ("convnext_atto", (256, 256)),
        ("resnet18", (225, 225)),  # no multiple of the stride
    ],
)
def test_the_grid_lies_over_the_pixels_that_its_locations_depend_on(name: str, size: tuple[int, int]) -> None:
    """A spot changes the answers around itself, as much on its left as on its right.

    The network's weights are made symmetric, so that only the geometry of its layers can shift them.
    """
    model = network(name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.copy_((parameter + parameter.flip(2) + parameter.flip(3) + parameter.flip(2, 3)) / 4)
    dense = DenseClassifier(model, name)
    grid, _, _ = dense.consistency(size)
    box = dense.grid_box(size, grid)
    grey, found = torch.zeros(1, 3, *size), []
    for y, x in ((0.5, 0.5), (0.45, 0.55), (0.55, 0.45), (0.5, 0.6)):
        spot = grey.clone()
        top, left = round(y * size[0]), round(x * size[1])
        spot[:, :, top - 8 : top + 8, left - 8 : left + 8] = 3.0
        with torch.inference_mode():
            change = (dense(spot) - dense(grey)).square().sum(-1)[0].double()
        change = (change - change.median()).clamp_min(0)
        rows, columns = (torch.arange(count) + 0.5 for count in grid)
        place_y = float((change.sum(1) * rows).sum() / change.sum()) / grid[0] * box.height + box.top
        place_x = float((change.sum(0) * columns).sum() / change.sum()) / grid[1] * box.width + box.left
        found.append(((place_y - top / size[0]) * size[0] / 32, (place_x - left / size[1]) * size[1] / 32))
    offset = torch.tensor(found).mean(0)
    assert offset.abs().max() < 0.25, f"the answers lie {offset.tolist()} locations from the spots that caused them"
