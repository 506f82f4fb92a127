"""Does a LabelTensor keep its label through a pipeline of torchvision, or say that it cannot, and end as targets?"""

from __future__ import annotations

import copy
import pickle
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
from tests.tokenlabel.coordinates import LABEL, Agreement, coordinates, labelled, pil_coordinates, pixel_centres
from tokenlabel import LabelError, TokenTargets, View, token_targets
from tokenlabel.pipelines.label_tensor import LabelTensor, ResolveLabels
from tokenlabel.pipelines.policies import LabeledCompose

BILINEAR = v2.InterpolationMode.BILINEAR


# ---- what carries the label, and what would lose it


def test_all_that_torchvision_can_do_to_a_mask_it_can_do_to_a_label_map() -> None:
    """A function that moves masks moves pixels: a new one must not pass a label map by."""
    moving = {function for function, kernels in _KERNEL_REGISTRY.items() if tv_tensors.Mask in kernels}
    left = {function.__name__ for function in moving if LabelTensor not in _KERNEL_REGISTRY[function]}
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
    picture, label = pipeline(*labelled(pil_coordinates(75, 100)))
    assert picture.shape == (3, 75, 100)
    assert label.label is LABEL
    assert label.warp.stages == ()


def moved_label() -> LabelTensor:
    label: LabelTensor = functional.rotate(functional.crop(LabelTensor(LABEL), 5, 10, 40, 50), 30)
    return label


def same(one: LabelTensor, other: LabelTensor) -> bool:
    points = pixel_centres(7, 9)
    return (
        type(one) is LabelTensor
        and np.array_equal(one.label.classes, other.label.classes)
        and np.array_equal(one.label.scores, other.label.scores)
        and one.canvas == other.canvas
        and all(map(np.array_equal, one.warp.trace_back(points), other.warp.trace_back(points)))
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
    if way == "wrap" and not hasattr(tv_tensors.TVTensor, "wrap"):
        pytest.skip("this torchvision does not ask a class of other people how it is wrapped")
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


def with_return_type(label: LabelTensor) -> Any:
    with tv_tensors.set_return_type("TVTensor"):
        return label * 2


@pytest.mark.parametrize("way", LOSSES)
def test_what_would_lose_the_label_is_an_error(way: str) -> None:
    with pytest.raises(
        LabelError, match="would make a tensor of a LabelTensor that has lost its label; let ResolveLabels"
    ):
        LOSSES[way](moved_label())


def test_a_label_map_can_be_printed_and_asked_what_it_is() -> None:
    label = moved_label()
    assert repr(label) == "LabelTensor(6x5 grid, picture of 40x50 after 2 stages)"
    assert (label.device.type, label.is_cuda, label.requires_grad) == ("cpu", False, False)


class Samples(Dataset[Any]):
    """Pictures and label maps, as they are or resolved."""

    def __init__(self, pipeline: LabeledCompose) -> None:
        self.pipeline = pipeline

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        torch.manual_seed(index)
        return self.pipeline(*labelled(tv_tensors.Image(coordinates(75, 100))))


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
            v2.Lambda(lambda label: functional.resized_crop(label, 10, 20, 50, 60, [64, 64]), LabelTensor, Image.Image),
            v2.RandomHorizontalFlip(1),
            v2.ToImage(),
            ResolveLabels((4, 5), keep=3),
        ]
    )
    picture, targets = pipeline(*labelled(pil_coordinates(75, 100)))
    assert isinstance(picture, tv_tensors.Image)
    view = View(Box(10 / 75, 0.2, 60 / 75, 0.8), mirrored=True)
    expected = token_targets(storage.LabelMap.stack([LABEL]), [view], (4, 5), keep=3)[0]
    torch.testing.assert_close(dense(targets), dense(expected))
    assert not targets.outside.any()


def dense(targets: TokenTargets) -> torch.Tensor:
    """The probability of each of the 40 classes at each position."""
    return torch.zeros(len(targets.classes), 40).scatter_add_(1, targets.classes.long(), targets.probabilities)


def test_the_corners_of_a_turned_picture_are_resolved_as_outside() -> None:
    pipeline = LabeledCompose([v2.RandomRotation((45, 45), expand=True), v2.Resize((96, 96)), ResolveLabels((12, 12))])
    _, targets = pipeline(*labelled(tv_tensors.Image(coordinates(75, 75)), canvas=(75, 75)))
    assert isinstance(targets, TokenTargets)
    outside = targets.outside[1:].reshape(12, 12)
    assert outside[:3, :3].all()
    assert outside[-3:, -3:].all()
    assert not outside[4:8, 3:9].any()
    assert not targets.probabilities[targets.outside].any()


def test_samples_of_any_shape_are_resolved_in_place() -> None:
    pipeline = LabeledCompose([v2.RandomCrop(40), ResolveLabels((2, 2))])
    sample = {"id": 7, "pair": [*labelled(coordinates(75, 100))], "class": torch.tensor(3)}
    moved = pipeline(sample)
    assert moved["id"] == 7
    assert moved["class"] == 3
    assert moved["pair"][0].shape == (3, 40, 40)
    assert isinstance(moved["pair"][1], TokenTargets)


def test_a_smaller_copy_of_the_picture_needs_its_canvas() -> None:
    pipeline = LabeledCompose([v2.CenterCrop((30, 40)), ResolveLabels((3, 3))])
    _, large = LabeledCompose([v2.CenterCrop((60, 80)), ResolveLabels((3, 3))])(*labelled(coordinates(75, 100)))
    small = pipeline(*labelled(coordinates(38, 50), canvas=(38, 50)))[1]
    torch.testing.assert_close(dense(small), dense(large), atol=0.05, rtol=0)


def test_labels_of_many_pictures_are_refused() -> None:
    with pytest.raises(
        LabelError, match=r"one picture, but got labels of the shape \(2,\); index them first: labels\[i\]"
    ):
        LabelTensor(random_labels(np.random.default_rng(0), 2))


def test_a_label_that_does_not_know_its_picture_is_refused() -> None:
    missing = storage.LabelMap.unlabelled(Status.UNDECODABLE, grid=(6, 5), k=3, class_count=40)
    with pytest.raises(
        LabelError, match=r"how large its picture is \(its status is undecodable\); give canvas=\(height"
    ):
        LabelTensor(missing)
    pipeline = LabeledCompose([ResolveLabels((2, 2))])
    picture = coordinates(75, 100)
    with pytest.raises(LabelError, match="the picture has no label: its status is undecodable"):
        pipeline(picture, LabelTensor(missing, picture, canvas=(75, 100)))


def test_a_sample_without_a_label_map_or_a_picture_is_refused() -> None:
    pipeline = LabeledCompose([ResolveLabels((2, 2))])
    with pytest.raises(
        LabelError, match=r"found no LabelTensor in the sample; give LabelTensor\(label, picture\) beside the picture"
    ):
        pipeline(coordinates(75, 100), 3)
    with pytest.raises(LabelError, match="before the first transform, the sample has a LabelTensor, but no picture"):
        pipeline(LabelTensor(LABEL), 3)
    for tokens in (4, (4.5, 4), (0, 4)):
        with pytest.raises(LabelError, match=r"tokens must be \(rows, columns\) and keep a number of classes"):
            ResolveLabels(tokens)


def test_a_pipeline_outside_of_a_labeled_compose_is_refused() -> None:
    pipeline = v2.Compose([v2.RandAugment(), ResolveLabels((2, 2))])
    with pytest.raises(
        LabelError, match=r"outside of a LabeledCompose, .* make the pipeline a LabeledCompose\(\[...\]\)"
    ):
        pipeline(*labelled(pil_coordinates(75, 100)))
    checked = LabeledCompose([v2.RandomHorizontalFlip()])
    with pytest.raises(LabelError, match="outside of a LabeledCompose"):
        ResolveLabels((2, 2))(checked(*labelled(pil_coordinates(75, 100))))


@pytest.mark.parametrize("crop", [v2.FiveCrop(20), v2.TenCrop(20)])
def test_several_pictures_of_one_label_are_refused_by_the_label_itself(crop: Any) -> None:
    with pytest.raises(
        LabelError, match="FiveCrop and TenCrop make several pictures of one, but a LabelTensor belongs to one"
    ):
        crop(*labelled(pil_coordinates(75, 100)))
