"""Does a pipeline that cannot be traced say so, and a step that is said to be still stay so?"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps
from timm.data import transforms as timm_transforms
from torchvision import transforms as v1
from torchvision.transforms import v2

from tests.tokenlabel.coordinates import pil_coordinates
from tests.tokenlabel.pipelines.traced_pictures import (
    SOURCES,
    seeded,
    then_tensor,
    trained,
)
from tokenlabel import LabelError, Traced

pytestmark = pytest.mark.usefixtures("single_threaded")


def rolled(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.roll(np.asarray(picture), 9, 1))


def inverted(picture: Image.Image) -> Image.Image:
    return Image.fromarray(255 - np.asarray(picture))


def cut_out(picture: Image.Image) -> Image.Image:
    ImageDraw.Draw(picture).rectangle((20, 20, 40, 40), fill=0)
    return picture


def turned_in_place(picture: Image.Image) -> Image.Image:
    picture.getexif()[0x0112] = 3
    ImageOps.exif_transpose(picture, in_place=True)
    return picture


class OwnJitter(v1.ColorJitter):
    """A subclass, which may move pixels although torchvision's does not."""


@pytest.mark.parametrize(
    "step",
    [
        rolled,
        inverted,
        cut_out,
        turned_in_place,
        v1.Lambda(rolled),
        OwnJitter(0.5),
        np.asarray,
        v1.functional.to_tensor,
    ],
)
def test_what_loses_the_trace_is_an_error(step: Any) -> None:
    with pytest.raises(
        LabelError, match=r"cannot be followed back.*Move them with PIL's crop.*still=\[step\]"
    ) as error:
        Traced(v1.Compose([v1.RandomResizedCrop(50), step, v1.ToTensor()]))(pil_coordinates(96, 128))
    assert repr(step) in str(error.value)


def test_the_error_says_what_the_step_gave() -> None:
    with pytest.raises(LabelError, match="gave a picture of 60x50 pixels whose"):
        Traced([v1.Resize((60, 50)), rolled])(SOURCES[0])
    with pytest.raises(LabelError, match="gave a ndarray whose"):
        Traced([np.asarray])(SOURCES[0])


def test_what_moves_pixels_of_a_tensor_is_an_error() -> None:
    for step in (v1.RandomHorizontalFlip(), v1.CenterCrop(40), lambda pixels: pixels.roll(9, 2)):
        with pytest.raises(LabelError, match="was given a tensor, .*put the step before ToTensor"):
            Traced([v1.ToTensor(), step])(SOURCES[0])


def test_a_step_that_is_said_to_move_no_pixel_is_believed() -> None:
    for steps in ([inverted, v1.ToTensor()], [v1.ToTensor(), torch.neg], [v1.RandomApply([inverted]), v1.ToTensor()]):
        pixels, warp = seeded(0, Traced(steps, still=[inverted, torch.neg]), SOURCES[0])
        assert torch.equal(pixels, seeded(0, v1.Compose(steps), SOURCES[0]))
        assert warp.stages == ()


def test_unless_its_size_contradicts_that() -> None:
    step = v1.Resize((10, 12))
    message = "run as a step that moves no pixel, but gave 10x12 pixels for 96x128; remove it from still"
    with pytest.raises(LabelError, match=message):
        Traced(then_tensor(step), still=[step])(SOURCES[0])
    with pytest.raises(LabelError, match="gave a ndarray, but a traced step must give a PIL picture or a tensor"):
        Traced(then_tensor(np.asarray), still=[np.asarray])(SOURCES[0])


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (trained(auto_augment="augmix-m5-w4-d2"), "AugMixAugment cannot be traced: it mixes versions"),
        (then_tensor(v1.AugMix()), "a pixel comes from several points of the picture; use a policy that moves it once"),
        (then_tensor(v1.FiveCrop(20)), "FiveCrop cannot be traced: it makes several pictures of one"),
        (then_tensor(v1.RandomApply([v1.TenCrop(20)])), "TenCrop cannot be traced"),
        (v1.LinearTransformation(torch.eye(12), torch.zeros(12)), "each of its pixels comes from all others"),
        (trained(patchify=True), "Patchify cannot be traced: it gives patches"),
        (
            v2.Compose([v2.RandomApply([v2.RandomIoUCrop()]), v2.ToImage()]),
            r"RandomIoUCrop cannot be .* bounding boxes, and a training picture has none; use v2.RandomResizedCrop",
        ),
        (v2.SanitizeBoundingBoxes(), "SanitizeBoundingBoxes cannot be in this pipeline: .*; leave it out"),
        (
            then_tensor(v2.RandomHorizontalFlip()),
            "with RandomHorizontalFlip, of torchvision.transforms.v2, and ToTensor, of timm",
        ),
    ],
)
def test_what_can_be_known_at_once_is_refused_at_once(transform: Any, reason: str) -> None:
    with pytest.raises(LabelError, match=re.compile(reason)):
        Traced(transform)


def test_it_goes_from_a_picture_to_a_tensor() -> None:
    with pytest.raises(LabelError, match=r"must give a tensor \[channels, H, W\], but this one gave a picture of 9x9"):
        Traced(v1.Resize((9, 9)))(SOURCES[0])
    with pytest.raises(LabelError, match="starts from a PIL picture, but was given a tensor of shape"):
        Traced(then_tensor())(torch.zeros(3, 9, 9))  # type: ignore[arg-type]


def test_pixels_that_do_not_form_a_window_are_noticed() -> None:
    odd = timm_transforms.RandomPad((150, 140))
    odd.get_params = lambda picture, size: next(windows)
    windows = iter([(5, 5, 5, 5)])
    assert Traced(then_tensor(odd))(SOURCES[0])[1].stages
    turning = v1.Pad(3)
    turning.forward = lambda picture: ImageOps.expand(rolled(picture), 3)
    with pytest.raises(LabelError, match="steps of its type crop and pad, but what it gave is not one window"):
        Traced(then_tensor(turning))(SOURCES[0])


def of_a_dict(sample: Any) -> Any:
    return {"video": sample["video"].flip(-1)}


def of_three(picture: Any, label: Any, strength: Any) -> Any:
    return picture, label, strength


@pytest.mark.parametrize("first", [v1.ToTensor(), v1.Resize(40), v2.PILToTensor(), v2.RGB()])
@pytest.mark.parametrize("step", [of_a_dict, of_three])
def test_a_step_of_another_form_is_named(first: Any, step: Any) -> None:
    still = [step] if isinstance(first, v1.ToTensor | v2.PILToTensor) else []  # what moves no pixel may take a tensor
    with pytest.raises(LabelError, match=f"{step.__name__} .*cannot be traced: it was given a .* A step takes one"):
        Traced([first, step], still=still)(SOURCES[0])


@pytest.mark.parametrize("first", [v2.ToImage(), v2.PILToTensor(), v2.RGB()])
def test_a_step_for_videos_is_named(first: Any) -> None:
    with pytest.raises(LabelError, match="UniformTemporalSubsample.* cannot be .* videos"):
        Traced([first, v2.UniformTemporalSubsample(4)])(SOURCES[0])
