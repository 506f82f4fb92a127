"""Does `Traced` recognise what it is given: timm's and torchvision's v1 steps, or torchvision's v2?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from storage import LabelMap, Status
from tests.tokenlabel.coordinates import pil_coordinates
from tests.tokenlabel.pipelines.traced_pictures import TALL, assert_true, errors, plain
from tokenlabel import LabeledCompose, LabelError, LabelTensor, RandAugment, Traced

PICTURE = pil_coordinates(96, 128)
TO_FLOAT = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]


def unmoved(sample: Any, *others: Any) -> Any:
    """A step of a user's own, which a v2 pipeline calls with all that is in the sample."""
    return (sample, *others) if others else sample


@pytest.mark.parametrize(
    "transform",
    [
        plain(is_training=True, no_aug=True),
        v1.Compose([v1.CenterCrop(60), v1.Resize(TALL), v1.ToTensor()]),
        [v1.CenterCrop(60), v1.Resize(TALL), v1.ToTensor()],
        v2.Compose([v2.CenterCrop(60), v2.Resize(TALL), *TO_FLOAT]),
        [v2.CenterCrop(60), v2.Resize(TALL), *TO_FLOAT],
        v1.Compose([v2.CenterCrop(60), v2.Resize(TALL), *TO_FLOAT]),
        [v2.Compose([v2.CenterCrop(60), unmoved]), v2.Resize(TALL), *TO_FLOAT],
    ],
    ids=["timm", "v1", "v1 list", "v2", "v2 list", "v2 in a Compose of v1", "v2 in v2"],
)
def test_a_pipeline_of_either_kind_is_traced(transform: Any) -> None:
    for traced in (Traced(transform), lambda picture: Traced(transform)(picture, np.random.default_rng(0))):
        pixels, warp = traced(PICTURE)
        assert pixels.shape == (3, *TALL)
        assert_true([errors(pixels, warp)])


def test_policies_of_this_package_are_of_v2() -> None:
    traced = Traced([RandAugment(), v2.Resize(TALL), *TO_FLOAT])
    assert len({traced(PICTURE, np.random.default_rng(seed))[0].sum().item() for seed in range(5)}) > 1


def test_the_usual_steps_of_v2_run_once_for_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    run = []

    def counted(step: v2.Transform, given: Any, params: dict[str, Any]) -> Any:
        run.append(type(step))
        return originals[type(step)](step, given, params)

    steps = [v2.RandomCrop(90), v2.RandomResizedCrop(TALL), v2.RandomHorizontalFlip(1.0), v2.RandomVerticalFlip(1.0)]
    steps += [v2.Resize(80), v2.CenterCrop(TALL), v2.ColorJitter(0.1), *TO_FLOAT, v2.Normalize([0.5], [0.5])]
    originals = {type(step): type(step).transform for step in steps}
    for kind in originals:
        monkeypatch.setattr(kind, "transform", counted)
    torch.manual_seed(0)
    Traced(steps)(PICTURE)
    assert run == [type(step) for step in steps]


@pytest.mark.parametrize("seed", range(4))
def test_the_usual_steps_of_v2_are_followed_as_a_label_beside_the_picture_is(seed: int) -> None:
    steps = [v2.RandomCrop(90, padding=8), v2.Resize(70), v2.RandomResizedCrop((64, 48)), v2.RandomVerticalFlip()]
    steps += [v2.RandomHorizontalFlip(), v2.CenterCrop((60, 52)), *TO_FLOAT, v2.CenterCrop(40)]
    torch.manual_seed(seed)
    pixels, warp = Traced(steps)(PICTURE)
    label = LabelTensor(LabelMap.unlabelled(Status.MISSING, grid=(1, 1), k=1, class_count=1), PICTURE, canvas=(96, 128))
    torch.manual_seed(seed)
    beside, label = LabeledCompose(steps)(PICTURE, label)
    assert torch.equal(pixels, beside)
    points = np.random.default_rng(seed).random((50, 2))
    for traced, expected in zip(warp.trace_back(points), label.warp.trace_back(points), strict=True):
        np.testing.assert_array_equal(traced, expected)


@pytest.mark.parametrize(
    "mixed",
    [
        [v2.CenterCrop(60), v1.ToTensor()],
        v2.Compose([v1.RandomApply([v1.RandomCrop(60)]), v2.CenterCrop(60)]),
        v1.Compose([v1.RandomApply([v2.CenterCrop(60)]), v1.CenterCrop(60)]),
        [*plain().transforms, v2.CenterCrop(60)],
        nn.Sequential(v2.CenterCrop(60), v1.CenterCrop(50)),
    ],
)
def test_a_mix_of_both_is_refused(mixed: Any) -> None:
    expected = "of torchvision.transforms.v2, and .*, of timm or torchvision's v1, cannot be traced: .* one of the two"
    with pytest.raises(LabelError, match=expected):
        Traced(mixed)


def test_a_step_of_v2_that_takes_the_picture_alone_is_watched_until_it_is_said_to_be_still() -> None:
    def mirrored(picture: Image.Image) -> Image.Image:
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    pixels, warp = Traced([mirrored, v2.CenterCrop(60), v2.Lambda(mirrored), *TO_FLOAT])(PICTURE)
    assert_true([errors(pixels, warp)])
    scaled = v2.Lambda(lambda tensor: tensor * 1.0)
    steps = [v2.RandomApply(nn.ModuleList([v2.CenterCrop(60), v2.Compose([*TO_FLOAT, scaled])]), p=1.0)]
    with pytest.raises(LabelError, match=r"Lambda.* was given a tensor, .* Traced\(transform, still=\[step\]\)"):
        Traced(steps)(PICTURE)
    pixels, warp = Traced(steps, still=[scaled])(PICTURE)
    assert_true([errors(pixels, warp)])


@pytest.mark.parametrize("crop", [v1.CenterCrop(60), v2.CenterCrop(60)])
def test_either_kind_goes_from_a_picture_to_a_tensor(crop: Callable[..., Any]) -> None:
    with pytest.raises(LabelError, match=r"must give a tensor .* gave a picture of 60x60 pixels; end it with ToTensor"):
        Traced([crop])(PICTURE)
    with pytest.raises(LabelError, match="starts from a PIL picture, but was given a tensor of shape"):
        Traced([crop])(torch.zeros(3, 80, 80))  # type: ignore[arg-type]


def test_it_names_its_steps() -> None:
    assert repr(Traced([v2.CenterCrop(60), unmoved])) == "Traced(CenterCrop, unmoved)"


def test_timm_is_imported_only_for_timms_steps() -> None:
    code = """
import sys
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2
from tokenlabel import Traced
Traced([v1.RandomCrop(8), v1.ToTensor()])(Image.new("RGB", (9, 9)))
Traced([v2.RandomCrop(8), v2.ToImage()])(Image.new("RGB", (9, 9)))
assert "timm" not in sys.modules
from timm.data import create_transform
Traced(create_transform(8))(Image.new("RGB", (9, 9)))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_picture_of_v2_is_the_pipelines_own_to_the_bit() -> None:
    pipeline = v2.Compose([v2.RandomResizedCrop(48), v2.RandomRotation(30), *TO_FLOAT])
    traced = Traced(pipeline)
    for seed in range(5):
        torch.manual_seed(seed)
        expected = pipeline(PICTURE)
        torch.manual_seed(seed)
        assert torch.equal(traced(PICTURE)[0], expected)
    assert isinstance(traced(Image.new("RGB", (9, 9)))[0], torch.Tensor)
