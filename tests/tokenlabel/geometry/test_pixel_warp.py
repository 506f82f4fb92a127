"""Does a label name the point that each pixel shows, after all that torchvision can do to the picture?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from tests.tokenlabel.coordinates import (
    LABEL,
    SHAPES,
    Agreement,
    agreement,
    coordinates,
    labelled,
    pil_coordinates,
    pixel_centres,
)
from tokenlabel.geometry.pixel_warp import PixelWarp
from tokenlabel.geometry.warp import Warp
from tokenlabel.pipelines.label_tensor import LabelTensor
from tokenlabel.pipelines.policies import LabeledCompose

BILINEAR = v2.InterpolationMode.BILINEAR
# Rotated by these, 75x100 pixels come so close to a whole number of pixels that PIL and tensors round differently.
ROUNDED_APART = (72.18352769, 1.5562676, 70.56514979)
RANDOM = {
    "RandomHorizontalFlip": v2.RandomHorizontalFlip(),
    "RandomVerticalFlip": v2.RandomVerticalFlip(),
    "RandomResizedCrop": v2.RandomResizedCrop((48, 64)),
    "RandomCrop": v2.RandomCrop((50, 60)),
    "RandomCrop, padded": v2.RandomCrop((90, 110), padding=8, pad_if_needed=True),
    "RandomZoomOut": v2.RandomZoomOut(side_range=(1, 1.8), p=1),
    "RandomRotation": v2.RandomRotation(180, interpolation=BILINEAR),
    "RandomRotation, expand": v2.RandomRotation(180, interpolation=BILINEAR, expand=True),
    "RandomRotation, center": v2.RandomRotation(90, interpolation=BILINEAR, center=[20, 50]),
    "RandomRotation, both": v2.RandomRotation(60, interpolation=BILINEAR, center=[20, 50], expand=True),
    "RandomAffine": v2.RandomAffine(40, (0.2, 0.2), (0.6, 1.6), (-20, 20, -20, 20), interpolation=BILINEAR),
    "RandomAffine, center": v2.RandomAffine(40, (0.2, 0.2), (0.6, 1.6), 20, interpolation=BILINEAR, center=[10, 60]),
    "RandomPerspective": v2.RandomPerspective(0.6, p=1),
    # Stronger, it stretches the half pixel at the border, which is blended with the fill, beyond Agreement.margin.
    "ElasticTransform": v2.ElasticTransform(alpha=45.0, sigma=3.0),
    "ScaleJitter": v2.ScaleJitter((80, 80), (0.5, 1.4)),
    "RandomShortestSize": v2.RandomShortestSize([40, 60, 80], 100),
    "RandomResize": v2.RandomResize(40, 80),
    "RandomErasing": v2.RandomErasing(p=1),
}
FIXED = {
    "Resize, short side": v2.Resize(48),
    "Resize, both sides": v2.Resize((60, 50)),
    "Resize, at most": v2.Resize(64, max_size=80),
    "Resize, long side": v2.Resize(None, max_size=70),
    "CenterCrop": v2.CenterCrop((51, 62)),
    "CenterCrop, odd": v2.CenterCrop([50]),
    "CenterCrop, larger": v2.CenterCrop((103, 61)),
    "Pad": v2.Pad(8),
    "Pad, two sides": v2.Pad([4, 9]),
    "Pad, four sides": v2.Pad([3, 7, 11, 4]),
    "Pad, negative": v2.Pad([-9, 12, 7, -5]),
    **{f"RandomRotation, {angle}": v2.RandomRotation((angle, angle), expand=True) for angle in (0, 90, 180, 270, -90)},
    "RandomRotation, 90 in place": v2.RandomRotation((90, 90), interpolation=BILINEAR),
}


pytestmark = pytest.mark.usefixtures("single_threaded")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", RANDOM)
def test_the_label_names_the_point_that_each_pixel_shows(name: str, shape: tuple[int, int]) -> None:
    found = agreement(RANDOM[name], tv_tensors.Image(coordinates(*shape)), draws=100)
    assert found.mean < 0.05
    assert found.worst < 0.5
    assert found.judged > 100_000
    assert found.strays == 0
    leaves = name.startswith(("RandomRotation", "RandomAffine", "RandomPersp", "RandomZoom", "RandomErasing"))
    assert (found.outside > 20_000) == (leaves or name.endswith("padded"))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", FIXED)
def test_the_label_names_the_point_where_nothing_is_random(name: str, shape: tuple[int, int]) -> None:
    for picture in (tv_tensors.Image(coordinates(*shape)), pil_coordinates(*shape)):
        found = agreement(FIXED[name], picture, draws=1)
        assert found.mean < 0.05
        assert found.worst < 0.5
        assert found.judged > 1_000
        assert found.strays == 0


@pytest.mark.parametrize("name", [name for name in RANDOM if name != "ElasticTransform"])
def test_pil_pictures_are_moved_by_the_same_rules(name: str) -> None:
    found = agreement(RANDOM[name], pil_coordinates(75, 100), draws=20)
    assert found.mean < 0.05
    assert found.worst < 0.5
    assert found.strays == 0


def test_nearest_pixels_are_named_to_within_half_a_pixel() -> None:
    transform = v2.RandomAffine(40, (0.2, 0.2), (0.6, 1.6), 20)
    found = agreement(transform, tv_tensors.Image(coordinates(150, 200)), draws=10)
    assert found.mean < 0.05
    assert found.worst < 0.51 * 18 / 150


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_chain_of_moves_is_read_as_one(shape: tuple[int, int]) -> None:
    chain = v2.Compose(
        [
            v2.RandomRotation(30, interpolation=BILINEAR, expand=True),
            v2.RandomHorizontalFlip(),
            v2.Pad(6),
            v2.RandomResizedCrop((90, 110), scale=(0.5, 1)),
            v2.RandomPerspective(0.3, p=1),
            v2.RandomErasing(p=0.5),
            v2.ElasticTransform(alpha=10.0, sigma=2.0),
            v2.RandomVerticalFlip(),
            v2.CenterCrop((84, 100)),
        ]
    )
    found = agreement(chain, tv_tensors.Image(coordinates(*shape)), draws=100, margin=5)
    assert found.mean < 0.05
    assert found.worst < 0.5
    assert found.outside > 20_000
    assert found.strays < 1e-3 * found.outside  # filters bleed wider where what they made is stretched afterwards


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_a_frame_shows_nothing_whatever_fills_it(mode: str) -> None:
    pad = LabeledCompose([v2.Pad([5, 10, 15, 20], padding_mode=mode)])
    _, label = pad(*labelled(tv_tensors.Image(coordinates(75, 100))))
    assert label.canvas == (105, 120)
    _, inside = label.warp.trace_back(pixel_centres(105, 120))
    expected = np.zeros((105, 120), bool)
    expected[10:85, 5:105] = True
    assert (inside.reshape(105, 120) == expected).all()


def test_an_erased_area_shows_nothing_to_the_pixel() -> None:
    erased = functional.erase(LabelTensor(LABEL), i=10, j=20, h=30, w=40, v=torch.zeros(1))
    _, inside = erased.warp.trace_back(pixel_centres(75, 100))
    expected = np.ones((75, 100), bool)
    expected[10:40, 20:60] = False
    assert (inside.reshape(75, 100) == expected).all()
    assert not functional.erase(LabelTensor(LABEL), i=0, j=0, h=0, w=4, v=torch.zeros(1)).warp.stages


def test_crops_around_boxes_take_the_label_along() -> None:
    boxes = tv_tensors.BoundingBoxes([[30, 20, 60, 50]], format="XYXY", canvas_size=(75, 100))
    pipeline = LabeledCompose([v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes(labels_getter=None)])
    found, sizes = Agreement(), set()
    torch.manual_seed(0)
    for _ in range(30):
        image, label = labelled(tv_tensors.Image(coordinates(75, 100)))
        sample = pipeline({"image": image, "boxes": boxes, "labels": label})
        found.add(sample["image"], sample["labels"].warp)
        sizes.add(sample["labels"].canvas)
    assert found.worst < 1e-4
    assert len(sizes) > 10


def test_a_perspective_is_the_same_by_its_points_and_by_its_coefficients() -> None:
    before, after = [[0, 0], [99, 0], [99, 74], [0, 74]], [[7, 3], [90, 12], [95, 70], [2, 60]]
    found = Agreement()
    moved = functional.perspective(coordinates(75, 100), startpoints=before, endpoints=after)
    found.add(moved, functional.perspective(LabelTensor(LABEL), startpoints=before, endpoints=after).warp)
    assert found.worst < 0.01
    assert found.judged > 3_000


@pytest.mark.parametrize("shear", [10.0, [10.0], [10.0, 0.0], (0.0, -15.0)])
def test_a_shear_may_be_given_in_each_way_that_torchvision_takes(shear: Any) -> None:
    how = {"angle": 5, "translate": (3, -2), "scale": 1.1, "shear": shear}
    found = Agreement()
    moved = functional.affine(coordinates(75, 100), interpolation=BILINEAR, **how)
    found.add(moved, functional.affine(LabelTensor(LABEL), **how).warp)
    assert found.worst < 0.01


@pytest.mark.parametrize("pillow", [False, True])
def test_a_turned_picture_is_as_large_as_its_label_says_however_it_is_rounded(pillow: bool) -> None:
    picture = pil_coordinates(75, 100) if pillow else coordinates(75, 100)
    pixels = PixelWarp(Warp(), (75, 100), pillow=pillow)
    for angle in (*ROUNDED_APART, 0, 90, 180, 270, -90, 360, 45, 1e-5, 89.99999, 30.5, -120.25):
        turned = functional.rotate(picture, angle, expand=True)
        assert pixels.rotate(angle, expand=True).size == tuple(functional.get_size(turned)), angle


def test_there_are_angles_at_which_pil_and_tensors_round_differently() -> None:
    shadow = PixelWarp(Warp(), (75, 100))
    for angle in ROUNDED_APART:
        sizes = {replace(shadow, pillow=pillow).rotate(angle, expand=True).size for pillow in (False, True)}
        assert len(sizes) == 2


@pytest.mark.parametrize("angle", ROUNDED_APART)
def test_a_label_knows_when_its_picture_becomes_a_tensor(angle: float) -> None:
    turn = v2.Lambda(
        lambda each: functional.rotate(each, angle, expand=True), Image.Image, tv_tensors.Image, LabelTensor
    )
    for steps in ([turn, v2.ToImage()], [v2.ToImage(), turn]):
        picture, label = LabeledCompose(steps)(*labelled(pil_coordinates(75, 100)))
        assert label.canvas == picture.shape[-2:]
