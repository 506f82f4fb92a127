"""Are VT-ResNet and VT-FPN students, of the sizes that the equations give; and what do they say without places?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import interpolate
from torchvision.datasets import ImageFolder

from storage import Box, LabelMap
from tests.tokenlabel.models.contract import CLASSES, StudentContract
from tokenlabel import Crops, LabeledImages, LabelError, Mix, View, collate, token_label_loss, token_targets
from tokenlabel.mixing.mix import Part
from tokenlabel.models import VTFPN, VTResNet
from tokenlabel.train.settings import TrainSettings
from tokenlabel.train.student import student as made_by_trainer

SMALL: dict[str, Any] = {"layers": (1, 1, 1), "channels": (8, 16, 24), "token_count": 5}
SMALL_FPN: dict[str, Any] = {"layers": (1, 1, 1, 1), "channels": (4, 8, 8, 8), "width": 16, "branch_width": 8}
SMALL_FPN |= {"token_count": 3, "token_width": 24}


class TestVTResNet(StudentContract):
    def make(self, size: tuple[int, int]) -> Any:
        return VTResNet(CLASSES, img_size=size, modules=3, **SMALL)


class TestWithValuesAndHeads(StudentContract):
    def make(self, size: tuple[int, int]) -> Any:
        return VTResNet(CLASSES, img_size=size, token_width=32, heads=4, value=True, **SMALL)


class TestVTFPN(StudentContract):
    def make(self, size: tuple[int, int]) -> Any:
        return VTFPN(CLASSES, img_size=size, **SMALL_FPN)


@pytest.mark.parametrize(
    ("name", "count", "grid"),
    [
        ("vt_resnet18", 3_895_848, (14, 14)),
        ("vt_resnet34", 9_742_120, (14, 14)),
        ("vt_resnet50", 30_556_200, (14, 14)),
        ("vt_resnet101", 49_548_328, (14, 14)),
        ("vt_fpn_resnet18", 21_682_472, (56, 56)),
        ("vt_fpn_resnet50", 34_751_272, (56, 56)),
        ("vt_fpn_resnet101", 53_743_400, (56, 56)),
    ],
)
def test_without_the_head_for_tokens_a_size_has_this_number_of_weights(
    name: str, count: int, grid: tuple[int, int]
) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    counted = {part: weight.numel() for part, weight in model.named_parameters()}
    assert sum(size for part, size in counted.items() if not part.startswith("aux_head.")) == count
    assert model.token_grid == grid
    assert name in timm.list_models("vt_*")


def test_the_stages_are_those_of_timms_resnet() -> None:
    with torch.device("meta"):
        published, ours = timm.create_model("resnet50").state_dict(), timm.create_model("vt_resnet50").state_dict()
    kept = {name: value.shape for name, value in published.items() if not name.startswith(("layer4.", "fc."))}
    assert len(kept) > 200
    assert {name: ours[name].shape for name in kept} == kept


def test_without_a_last_projector_it_is_the_papers_classifier() -> None:
    model = VTResNet(5, img_size=32, project_last=False, **SMALL)
    model.train()(torch.randn(2, 3, 32, 32)).sum().backward()
    assert {name for name, weight in model.named_parameters() if weight.grad is None} == set()
    full = VTResNet(5, img_size=32, **SMALL).eval()
    full.load_state_dict(model.state_dict(), strict=False)
    full.token_share = 0.0
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.allclose(full(pixels), model.eval()(pixels), atol=1e-6)


def test_without_a_last_projector_token_labels_are_refused() -> None:
    model = VTResNet(5, img_size=32, project_last=False, **SMALL)
    with pytest.raises(LabelError, match="its visual tokens have no place in the picture.*with project_last=True"):
        _ = model.token_grid
    with pytest.raises(LabelError, match="made with project_last=False"):
        model.logits(torch.zeros(1, 3, 32, 32))


@torch.no_grad()
def test_a_picture_is_classified_by_the_mean_of_its_visual_tokens() -> None:
    for model in (VTResNet(5, img_size=32, **SMALL).eval(), VTFPN(5, img_size=32, **SMALL_FPN).eval()):
        visual, places = (torch.randn_like(part) for part in model.forward_features(torch.randn(2, 3, 32, 32)))
        mean = sum(visual[:, index] for index in range(visual.shape[1])) / visual.shape[1]
        assert torch.allclose(model.forward_head((visual, places), pre_logits=True), mean, atol=1e-5)
        model.token_share = 0.0  # the picture's logits alone
        assert torch.allclose(model.forward_head((visual, places)), model.fc(mean), atol=1e-5)


@torch.no_grad()
def test_vt_fpn_gathers_tokens_of_each_level_and_mixes_all() -> None:
    model = VTFPN(5, img_size=64, **SMALL_FPN).eval()
    pixels = torch.randn(2, 3, 64, 64)
    (visual, _), maps = model.forward_intermediates(pixels)
    gathered = []
    for level in range(4):
        places = model.laterals[level](maps[1 + level]).flatten(2).transpose(1, 2)
        gathered.append(model.tokenizers[level](places))
        assert places.shape[1] == (16 >> level) ** 2
    assert torch.allclose(visual, model.transformer(torch.cat(gathered, 1)), atol=1e-5)


@torch.no_grad()
def test_the_map_of_vt_fpn_is_the_sum_of_levels_that_have_read_the_tokens_of_all() -> None:
    model = VTFPN(5, img_size=64, heads=2, **SMALL_FPN).eval()
    (visual, places), maps = model.forward_intermediates(torch.randn(2, 3, 64, 64))
    expected = torch.zeros(2, 8, 16, 16)
    for level in range(4):
        x = model.laterals[level](maps[1 + level])
        x = model.projectors[level](x.flatten(2).transpose(1, 2), visual).transpose(1, 2).reshape(x.shape)
        for step in model.branches[level]:
            x = step.norm(step.conv(x)).clamp(min=0)
            if level:
                x = interpolate(x, scale_factor=2, mode="bilinear")
        expected += x
    assert torch.allclose(places, expected, atol=1e-5)
    assert {part.heads for part in (model.transformer, *model.projectors)} == {2}


def _let_blocks_work(model: nn.Module) -> None:
    """timm begins the last batch norm of each block at 0, so that the block does nothing."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)


@torch.no_grad()
def test_mixtoken_swaps_places_of_the_stems_map_or_of_what_the_first_module_gets() -> None:
    resnet, fpn = VTResNet(5, img_size=64, **SMALL).eval(), VTFPN(5, img_size=64, **SMALL_FPN).eval()
    pixels = torch.randn(2, 3, 64, 64)
    for model, first in ((resnet, resnet.layer4[0]), (fpn, fpn.layer1)):
        _let_blocks_work(model)
        mix = Mix((1, 0), (Part(Box(0, 0.25, 0.5, 0.75), 1.0),) * 2, model.token_grid, "tokens")
        seen: list[torch.Tensor] = []
        hook = first.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        model.logits(pixels)
        model.logits(pixels, mix)
        hook.remove()
        plain, mixed = seen
        if plain.ndim == 3:
            plain, mixed = (places.transpose(1, 2).unflatten(2, model.token_grid) for places in (plain, mixed))
        assert torch.equal(mixed, mix.tokens(plain))
        assert not torch.equal(mixed, plain)


@pytest.mark.parametrize("kind", [VTResNet, VTFPN])
@torch.no_grad()
def test_what_timms_users_give_reaches_it(kind: Any) -> None:
    small = SMALL if kind is VTResNet else SMALL_FPN
    pixels = torch.randn(8, 1, 64, 64, dtype=torch.float64)
    known: dict[str, Any] = {**small, "img_size": 64, "in_chans": 1, "dtype": torch.float64, "token_share": 0.25}
    for options, differs in (({}, False), ({"drop_rate": 0.5}, True), ({"drop_path_rate": 0.5}, True)):
        model = kind(5, **known, **options)
        _let_blocks_work(model)
        assert torch.equal(model.train()(pixels)[0], model(pixels)[0]) != differs
        assert torch.equal(model.eval()(pixels), model(pixels))
        assert model.token_share == 0.25
    model.reset_classifier(3)
    assert [head.weight.dtype for head in model.get_classifier()] == [torch.float64] * 2


def test_sizes_that_form_no_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="40x64 pixels cannot be divided into patches of 16; give a size whose"):
        VTResNet(5, img_size=(40, 64), **SMALL)
    with pytest.raises(ValueError, match="48x64 pixels cannot be divided into patches of 32"):
        VTFPN(5, img_size=32, **SMALL_FPN)(torch.zeros(1, 3, 48, 64))
    with pytest.raises(ValueError, match="pooled by their mean, 'avg', not by 'max'"):
        VTResNet(5, img_size=32, **SMALL).reset_classifier(5, "max")
    with pytest.raises(ValueError, match="maps are given as NCHW alone, not as 'NLC'"):
        VTResNet(5, img_size=32, **SMALL).forward_intermediates(torch.zeros(1, 3, 32, 32), output_fmt="NLC")
    with pytest.raises(ValueError, match="at least one visual transformer is needed, not 0"):
        VTResNet(5, img_size=32, modules=0, **SMALL)


def test_the_trainer_makes_both() -> None:
    for name, grid in (("vt_resnet18", (4, 4)), ("vt_fpn_resnet18", (16, 16))):
        model = made_by_trainer(TrainSettings(model=name, img_size=64, token_share=0.25), 5)
        assert (model.token_grid, model.token_share) == (grid, 0.25)


def test_maps_of_all_stages_are_there_for_timms_users() -> None:
    model = timm.create_model("vt_resnet18", features_only=True, out_indices=(1, 3, 4), img_size=64)
    shapes = [tuple(found.shape) for found in model(torch.zeros(1, 3, 64, 64))]
    assert shapes == [(1, 64, 16, 16), (1, 256, 4, 4), (1, 256, 4, 4)]
    with pytest.raises(ValueError, match="vt_fpn_resnet18 has no features_only.*that its forward_intermediates gives"):
        timm.create_model("vt_fpn_resnet18", features_only=True, img_size=64)


def test_vt_fpn_learns_per_pixel_targets_of_a_store(finished: Path, scene_folder: Path) -> None:
    """Batches of the store's maps at a quarter of the pixels fit it, and their loss falls."""
    torch.manual_seed(0)
    student = VTFPN(10, img_size=64, **SMALL_FPN)
    data = LabeledImages(
        ImageFolder(scene_folder / "images/val"),
        str(finished),
        augment=Crops((64, 64)),
        tokens=student.token_grid,
        class_count=10,
        missing="class",
    )
    batch = collate([data[index] for index in range(8)])
    assert batch.targets.outside.shape == (8, 1 + 16 * 16)
    optimizer, losses = torch.optim.AdamW(student.parameters(), 3e-3), []
    for _ in range(12):
        optimizer.zero_grad()
        loss = token_label_loss(*student.train()(batch.pixels), batch.targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    exact = batch.targets.dense(10).clamp(min=1e-9).log()
    least = token_label_loss(exact[:, 0], exact[:, 1:], batch.targets).item()
    assert least < losses[-1] < least + (losses[0] - least) / 2


def test_vt_fpn_tells_the_pixels_of_four_quadrants_apart() -> None:
    """Each quadrant has a colour and a class: after a short training the pixels of each are found, at its place."""
    torch.manual_seed(0)
    colours = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [2, 2, 0]])
    quadrants = torch.arange(4).view(2, 2).repeat_interleave(32, 0).repeat_interleave(48, 1)  # 64 x 96 pixels
    pixels = colours[quadrants].permute(2, 0, 1)[None]
    labels = LabelMap(
        np.arange(4, dtype=np.uint16).reshape(1, 2, 2, 1),
        np.ones((1, 2, 2, 1), np.float32),
        np.float32([[0, 0, 1, 1]]),
        np.uint32([[64, 96]]),
        np.uint8([0]),
    )
    student = VTFPN(4, img_size=(64, 96), **SMALL_FPN).train()
    targets = token_targets(labels, [View.whole()], student.token_grid)
    optimizer = torch.optim.AdamW(student.parameters(), 3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        token_label_loss(*student(pixels.expand(2, -1, -1, -1)), targets[[0, 0]]).backward()
        optimizer.step()
    answer = student.segment(pixels)
    assert answer.shape == (1, 4, 64, 96)
    assert (answer.argmax(1)[0] == quadrants).float().mean() > 0.9
