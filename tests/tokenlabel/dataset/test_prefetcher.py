"""Do targets go through timm's prefetching loader beside the pixels that it normalises?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from timm.data import create_loader, create_transform
from torchvision.datasets import ImageFolder

from tokenlabel import LabeledImages, LabelError, TokenTargets, collate, collate_pairs, token_label_loss

SETTINGS: dict[str, Any] = {
    "input_size": (3, 32, 32),
    "batch_size": 6,
    "is_training": True,
    "num_workers": 0,
    "persistent_workers": False,
    "device": torch.device("cpu"),
}


@pytest.fixture
def images(scene_folder: Path) -> ImageFolder:
    return ImageFolder(scene_folder / "images" / "val")


def batches(images: ImageFolder, store: Path, collate_fn: Any, *, prefetcher: bool) -> list[Any]:
    augment = create_transform(32, is_training=True, use_prefetcher=prefetcher, color_jitter=None)
    data = LabeledImages(images, store, augment=augment, tokens=(2, 2), class_count=10)
    torch.manual_seed(0)  # of the order
    return list(create_loader(data, use_prefetcher=prefetcher, collate_fn=collate_fn, **SETTINGS))


def test_a_prefetched_batch_is_that_of_the_plain_loader(images: ImageFolder, finished: Path) -> None:
    prefetched = batches(images, finished, collate_pairs, prefetcher=True)
    plain = batches(images, finished, collate, prefetcher=False)
    assert len(prefetched) == len(plain) == 5
    for (pixels, (targets, label)), expected in zip(prefetched, plain, strict=True):
        assert isinstance(targets, TokenTargets)
        torch.testing.assert_close(pixels, expected.pixels, atol=1e-5, rtol=1e-5)
        assert torch.equal(targets.probabilities, expected.targets.probabilities)
        assert torch.equal(label, expected.label)
        assert token_label_loss(torch.zeros(6, 10), torch.zeros(6, 4, 10), targets, label=label).isfinite()


def test_pixels_that_are_normalised_already_are_refused(images: ImageFolder, finished: Path) -> None:
    data = LabeledImages(
        images, finished, augment=create_transform(32, is_training=True), tokens=(2, 2), class_count=10
    )
    loader = create_loader(data, use_prefetcher=True, collate_fn=collate_pairs, **SETTINGS)
    with pytest.raises(LabelError, match=r"normalises uint8 pixels, but these are torch.float32: give augment="):
        next(iter(loader))


@pytest.mark.parametrize("prefetched", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("collate_fn", [collate, None])
def test_a_collate_that_the_prefetcher_cannot_take_names_the_one_that_it_takes(
    collate_fn: Any, workers: int, prefetched: bool, images: ImageFolder, finished: Path
) -> None:
    augment = create_transform(32, is_training=True, use_prefetcher=prefetched)
    data = LabeledImages(images, finished, augment=augment, tokens=(2, 2), class_count=10)
    loader = create_loader(data, use_prefetcher=True, collate_fn=collate_fn, **{**SETTINGS, "num_workers": workers})
    with pytest.raises(LabelError, match=r"collate_fn=tokenlabel.collate_pairs\) and augment=create_transform\("):
        next(iter(loader))
