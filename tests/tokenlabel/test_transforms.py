"""Does a label name the place that each pixel shows, after whatever torchvision does to the picture?"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional
from torchvision.transforms.v2.functional._utils import _KERNEL_REGISTRY

import storage
from storage import Box, Status
from tests.labels import random_labels
from tests.tokenlabel.coordinates import Agreement, coordinates, pil_coordinates
from tokenlabel import LabelError, TokenTargets, View, token_targets
from tokenlabel.pixel_warp import PixelWarp
from tokenlabel.policies import LabeledCompose
from tokenlabel.transforms import LabelMap, ResolveLabels
from tokenlabel.warp import Warp

LABEL = replace(random_labels(np.random.default_rng(3), 1)[0], sizes=np.array([75, 100], np.uint32))
SHAPES = {"wide": (75, 100), "tall": (100, 75), "square": (80, 80)}
BILINEAR = v2.InterpolationMode.BILINEAR
# Turned by these, 75x100 pixels come so close to a whole number of pixels that PIL and tensors round differently.
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
    "ElasticTransform": v2.ElasticTransform(alpha=60.0, sigma=3.0),
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


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Pictures are small: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def agreement(transform: Any, picture: Any, *, draws: int, margin: int = 2) -> Agreement:
    pipeline, size = LabeledCompose([transform]), functional.get_size(picture)
    label, found = LabelMap(LABEL, canvas=tuple(size)), Agreement(margin)
    torch.manual_seed(0)
    for _ in range(draws):
        moved, label_map = pipeline(picture, label)
        found.add(moved, label_map.warp)
    return found


# ---- the test of truth


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", RANDOM)
def test_the_label_names_the_place_that_each_pixel_shows(name: str, shape: tuple[int, int]) -> None:
    found = agreement(RANDOM[name], tv_tensors.Image(coordinates(*shape)), draws=100)
    assert found.mean < 0.05
    assert found.worst < 0.5
    assert found.judged > 100_000
    assert found.strays == 0
    leaves = name.startswith(("RandomRotation", "RandomAffine", "RandomPersp", "RandomZoom", "RandomErasing"))
    assert (found.outside > 20_000) == (leaves or name.endswith("padded"))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", FIXED)
def test_the_label_names_the_place_where_nothing_is_random(name: str, shape: tuple[int, int]) -> None:
    for picture in (tv_tensors.Image(coordinates(*shape)), pil_coordinates(*shape)):
        if name == "Pad, negative" and isinstance(picture, Image.Image):
            continue  # PIL cannot
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
            v2.ElasticTransform(alpha=20.0, sigma=4.0),
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
    _, label = pad(tv_tensors.Image(coordinates(75, 100)), LabelMap(LABEL))
    assert label.canvas == (105, 120)
    _, inside = label.warp.places(pixel_centres(105, 120))
    expected = np.zeros((105, 120), bool)
    expected[10:85, 5:105] = True
    assert (inside.reshape(105, 120) == expected).all()


def test_an_erased_area_shows_nothing_to_the_pixel() -> None:
    erased = functional.erase(LabelMap(LABEL), i=10, j=20, h=30, w=40, v=torch.zeros(1))
    _, inside = erased.warp.places(pixel_centres(75, 100))
    expected = np.ones((75, 100), bool)
    expected[10:40, 20:60] = False
    assert (inside.reshape(75, 100) == expected).all()
    assert not functional.erase(LabelMap(LABEL), i=0, j=0, h=0, w=4, v=torch.zeros(1)).warp.stages


def test_crops_around_boxes_take_the_label_along() -> None:
    boxes = tv_tensors.BoundingBoxes([[30, 20, 60, 50]], format="XYXY", canvas_size=(75, 100))
    pipeline = LabeledCompose([v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes(labels_getter=None)])
    found, sizes = Agreement(), set()
    torch.manual_seed(0)
    for _ in range(30):
        sample = pipeline({"image": tv_tensors.Image(coordinates(75, 100)), "boxes": boxes, "labels": LabelMap(LABEL)})
        found.add(sample["image"], sample["labels"].warp)
        sizes.add(sample["labels"].canvas)
    assert found.worst < 1e-4
    assert len(sizes) > 10


def test_a_perspective_is_the_same_by_its_points_and_by_its_coefficients() -> None:
    before, after = [[0, 0], [99, 0], [99, 74], [0, 74]], [[7, 3], [90, 12], [95, 70], [2, 60]]
    found = Agreement()
    moved = functional.perspective(coordinates(75, 100), startpoints=before, endpoints=after)
    found.add(moved, functional.perspective(LabelMap(LABEL), startpoints=before, endpoints=after).warp)
    assert found.worst < 0.01
    assert found.judged > 3_000


@pytest.mark.parametrize("shear", [10.0, [10.0], [10.0, 0.0], (0.0, -15.0)])
def test_a_shear_may_be_given_in_each_way_that_torchvision_takes(shear: Any) -> None:
    how = {"angle": 5, "translate": (3, -2), "scale": 1.1, "shear": shear}
    found = Agreement()
    moved = functional.affine(coordinates(75, 100), interpolation=BILINEAR, **how)
    found.add(moved, functional.affine(LabelMap(LABEL), **how).warp)
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


def pixel_centres(height: int, width: int) -> np.ndarray:
    y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    return np.stack([y, x], -1).reshape(-1, 2)


# ---- what carries the label, and what would lose it


def test_all_that_torchvision_can_do_to_a_mask_it_can_do_to_a_label_map() -> None:
    """A function that moves masks moves pixels: a new one must not pass a label map by."""
    moving = {function for function, kernels in _KERNEL_REGISTRY.items() if tv_tensors.Mask in kernels}
    left = {function.__name__ for function in moving if LabelMap not in _KERNEL_REGISTRY[function]}
    assert left == {"get_size", "to_dtype"}


def test_changes_of_colour_leave_the_label_as_it_is() -> None:
    pipeline = LabeledCompose(
        [
            v2.ToImage(),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
            v2.RandomGrayscale(),
            v2.RandomPhotometricDistort(p=1),
            v2.RandomSolarize(128, p=1),
            v2.GaussianBlur(5),
            v2.ToDtype(torch.float32, scale=True),
            v2.GaussianNoise(),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    picture, label = pipeline(pil_coordinates(75, 100), LabelMap(LABEL))
    assert picture.shape == (3, 75, 100)
    assert label.label is LABEL
    assert label.warp.stages == ()


def moved_label() -> LabelMap:
    label: LabelMap = functional.rotate(functional.crop(LabelMap(LABEL), 5, 10, 40, 50), 30)
    return label


def same(one: LabelMap, other: LabelMap) -> bool:
    points = pixel_centres(7, 9)
    return (
        type(one) is LabelMap
        and np.array_equal(one.label.classes, other.label.classes)
        and np.array_equal(one.label.scores, other.label.scores)
        and one.canvas == other.canvas
        and all(map(np.array_equal, one.warp.places(points), other.warp.places(points)))
    )


COPIES = {
    "clone": lambda label: label.clone(),
    "to": lambda label: label.to("cpu"),
    "to, another type": lambda label: label.to(torch.float64),
    "cpu": lambda label: label.cpu(),
    "detach": lambda label: label.detach(),
    "requires_grad_": lambda label: label.requires_grad_(False),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda label: pickle.loads(pickle.dumps(label)),
    "wrap": lambda label: tv_tensors.wrap(torch.empty(0), like=label),
    "default_collate": lambda label: default_collate([label])[0],
    "default_collate, nested": lambda label: default_collate([{"image": 1, "label": (label, 2)}])["label"][0][0],
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_has_the_label(way: str) -> None:
    label = moved_label()
    assert same(COPIES[way](label), label)


LOSSES = {
    "arithmetic": lambda label: label + 1,
    "in place": lambda label: label.add_(1),
    "indexing": lambda label: label[:0],
    "stack": lambda label: torch.stack([label, label]),
    "chunk": lambda label: label.chunk(1),
    "reshape": lambda label: label.reshape(0, 1),
    "data": lambda label: label.data,
    "ToPureTensor": lambda label: v2.ToPureTensor()(tv_tensors.Image(coordinates(75, 100)), label),
    "wanted as subclass": lambda label: with_return_type(label),
}


def with_return_type(label: LabelMap) -> Any:
    with tv_tensors.set_return_type("TVTensor"):
        return label * 2


@pytest.mark.parametrize("way", LOSSES)
def test_what_would_lose_the_label_is_an_error(way: str) -> None:
    with pytest.raises(
        LabelError, match="would make a tensor of a LabelMap that has lost its label; let ResolveLabels"
    ):
        LOSSES[way](moved_label())


def test_a_label_map_can_be_printed_and_asked_what_it_is() -> None:
    label = moved_label()
    assert repr(label) == "LabelMap(6x5 grid, picture of 40x50 after 2 stages)"
    assert (label.device.type, label.is_cuda, label.requires_grad) == ("cpu", False, False)


class Samples(Dataset[Any]):
    """Pictures and label maps, as they are or resolved."""

    def __init__(self, pipeline: LabeledCompose) -> None:
        self.pipeline = pipeline

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        torch.manual_seed(index)
        return self.pipeline(tv_tensors.Image(coordinates(75, 100)), LabelMap(LABEL))


def test_label_maps_come_through_the_loaders_workers_and_its_collate() -> None:
    samples = Samples(LabeledCompose([v2.RandomRotation(45, interpolation=BILINEAR), v2.Resize((40, 40))]))
    batches = list(DataLoader(samples, batch_size=2, num_workers=1))
    for n, (pictures, labels) in enumerate(batches):
        assert pictures.shape == (2, 3, 40, 40)
        for picture, label, index in zip(pictures, labels, (2 * n, 2 * n + 1), strict=True):
            assert same(label, samples[index][1])
            found = Agreement()
            found.add(picture, label.warp)
            assert found.worst < 0.1


# ---- where it ends


def test_a_crop_and_a_mirror_are_resolved_as_the_view_that_they_are() -> None:
    pipeline = LabeledCompose(
        [
            v2.Lambda(lambda label: functional.resized_crop(label, 10, 20, 50, 60, [64, 64]), LabelMap, Image.Image),
            v2.RandomHorizontalFlip(1),
            v2.ToImage(),
            ResolveLabels((4, 5), keep=3),
        ]
    )
    picture, targets = pipeline(pil_coordinates(75, 100), LabelMap(LABEL))
    assert isinstance(picture, tv_tensors.Image)
    view = View(Box(10 / 75, 0.2, 60 / 75, 0.8), mirrored=True)
    expected = token_targets(storage.LabelMap.stack([LABEL]), [view], (4, 5), keep=3)[0]
    torch.testing.assert_close(dense(targets), dense(expected))
    assert not targets.outside.any()


def dense(targets: TokenTargets) -> torch.Tensor:
    """The probability of each of the 40 classes at each place."""
    return torch.zeros(len(targets.classes), 40).scatter_add_(1, targets.classes.long(), targets.probabilities)


def test_the_corners_of_a_turned_picture_are_resolved_as_outside() -> None:
    pipeline = LabeledCompose([v2.RandomRotation((45, 45), expand=True), v2.Resize((96, 96)), ResolveLabels((12, 12))])
    _, targets = pipeline(tv_tensors.Image(coordinates(75, 75)), LabelMap(LABEL, canvas=(75, 75)))
    assert isinstance(targets, TokenTargets)
    outside = targets.outside[1:].reshape(12, 12)
    assert outside[:3, :3].all()
    assert outside[-3:, -3:].all()
    assert not outside[4:8, 3:9].any()
    assert not targets.probabilities[targets.outside].any()


def test_samples_of_any_shape_are_resolved_in_their_place() -> None:
    pipeline = LabeledCompose([v2.RandomCrop(40), ResolveLabels((2, 2))])
    sample = {"id": 7, "pair": [coordinates(75, 100), LabelMap(LABEL)], "class": torch.tensor(3)}
    moved = pipeline(sample)
    assert moved["id"] == 7
    assert moved["class"] == 3
    assert moved["pair"][0].shape == (3, 40, 40)
    assert isinstance(moved["pair"][1], TokenTargets)


def test_a_smaller_copy_of_the_picture_says_so() -> None:
    pipeline = LabeledCompose([v2.CenterCrop((30, 40)), ResolveLabels((3, 3))])
    _, large = LabeledCompose([v2.CenterCrop((60, 80)), ResolveLabels((3, 3))])(coordinates(75, 100), LabelMap(LABEL))
    small = pipeline(coordinates(38, 50), LabelMap(LABEL, canvas=(38, 50)))[1]
    torch.testing.assert_close(dense(small), dense(large), atol=0.05, rtol=0)


def test_labels_of_many_pictures_are_refused() -> None:
    with pytest.raises(
        LabelError, match=r"one picture, but got labels of the shape \(2,\); index them first: labels\[i\]"
    ):
        LabelMap(random_labels(np.random.default_rng(0), 2))


def test_a_label_that_does_not_know_its_picture_is_refused() -> None:
    missing = storage.LabelMap.unlabelled(Status.UNDECODABLE, grid=(6, 5), k=3, class_count=40)
    with pytest.raises(
        LabelError, match=r"how large its picture is \(its status is undecodable\); give canvas=\(height"
    ):
        LabelMap(missing)
    pipeline = LabeledCompose([ResolveLabels((2, 2))])
    with pytest.raises(LabelError, match="the picture has no label: its status is undecodable"):
        pipeline(coordinates(75, 100), LabelMap(missing, canvas=(75, 100)))


def test_a_sample_without_a_label_map_or_a_picture_is_refused() -> None:
    pipeline = LabeledCompose([ResolveLabels((2, 2))])
    with pytest.raises(LabelError, match=r"found no LabelMap in the sample; give LabelMap\(label\) beside the picture"):
        pipeline(coordinates(75, 100), 3)
    with pytest.raises(LabelError, match="before the first transform, the sample has a LabelMap, but no picture"):
        pipeline(LabelMap(LABEL), 3)


def test_a_pipeline_that_nobody_checked_is_refused() -> None:
    pipeline = v2.Compose([v2.RandAugment(), ResolveLabels((2, 2))])
    with pytest.raises(
        LabelError, match=r"outside of a LabeledCompose: .* make the pipeline a LabeledCompose\(\[...\]\)"
    ):
        pipeline(pil_coordinates(75, 100), LabelMap(LABEL))
    checked = LabeledCompose([v2.RandomHorizontalFlip()])
    with pytest.raises(LabelError, match="outside of a LabeledCompose"):
        ResolveLabels((2, 2))(checked(pil_coordinates(75, 100), LabelMap(LABEL)))


@pytest.mark.parametrize("crop", [v2.FiveCrop(20), v2.TenCrop(20)])
def test_several_pictures_of_one_label_are_refused_by_the_label_itself(crop: Any) -> None:
    with pytest.raises(
        LabelError, match="FiveCrop and TenCrop make several pictures of one, but a LabelMap goes with one"
    ):
        crop(pil_coordinates(75, 100), LabelMap(LABEL))
