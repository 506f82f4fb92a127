"""Can any pipeline feed the same dataset, with random numbers that each picture has for itself?"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from tests.tokenlabel.coordinates import Agreement, pil_coordinates
from tokenlabel import Augmentation, Crops, LabeledImages, LabelError, Traced, collate, folder_keys, seeded
from tokenlabel.pipelines.policies import RandAugment


def augmentations() -> dict[str, Augmentation]:
    to_float = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    timms = timm.data.create_transform(64, is_training=True, auto_augment="rand-m9-inc1", re_prob=0.5)
    return {
        "crops": Crops((64, 64)),
        "torchvision": Traced(
            [v2.RandomResizedCrop(64), RandAugment(), v2.RandomRotation(20), *to_float, v2.RandomErasing(0.5)]
        ),
        "timm": Traced(timms),
    }


@pytest.mark.parametrize("name", [*augmentations()])
def test_a_picture_is_drawn_by_seed_epoch_and_index_alone(name: str, scene_folder: Path, finished: Path) -> None:
    images = ImageFolder(scene_folder / "images" / "val")
    data = LabeledImages(
        images, finished, keys=folder_keys(images), augment=augmentations()[name], tokens=(8, 8), class_count=10
    )
    alone = [data[index] for index in range(12)]
    for workers in (0, 2):
        data.set_epoch(0)
        loader = DataLoader(torch.utils.data.Subset(data, range(12)), 5, collate_fn=collate, num_workers=workers)
        batches = list(loader)
        assert torch.equal(torch.cat([batch.pixels for batch in batches]), torch.stack([one.pixels for one in alone]))
        found = torch.cat([batch.targets.probabilities for batch in batches])
        assert torch.equal(found, torch.stack([one.targets.probabilities for one in alone]))
    data.set_epoch(1)
    assert not torch.equal(data[0].pixels, alone[0].pixels)


def test_random_numbers_outside_continue_as_if_none_had_been_drawn() -> None:
    def outside() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()

    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = [outside(), outside()]
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    first = outside()
    with seeded(np.random.default_rng(0)):
        inside = outside()
    assert [first, outside()] == expected
    with seeded(np.random.default_rng(0)):
        assert outside() == inside


def test_a_traced_pipeline_of_torchvision_names_the_points_that_it_shows() -> None:
    """Red is y, green is x."""
    traced = Traced([v2.RandomResizedCrop(48, scale=(0.3, 1)), v2.RandomAffine(25, shear=10), v2.PILToTensor()])
    agreement = Agreement()
    for seed in range(20):
        agreement.add(*traced(pil_coordinates(96, 128), np.random.default_rng(seed)))
    assert agreement.judged > 10_000
    assert agreement.mean < 0.05 + 18 / 255 / 2
    assert agreement.worst < 0.6


def test_a_step_that_leaves_labels_behind_is_refused() -> None:
    with pytest.raises(LabelError, match="AugMix cannot be in a pipeline with labels"):
        Traced([v2.AugMix()])

    class Stretch(v2.Transform):
        """A step of one's own that leaves the label as it is."""

        def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
            return inpt.resize((10, 10)) if isinstance(inpt, Image.Image) else inpt

    stretched = Traced([Stretch()])
    with pytest.raises(LabelError, match="something changed the picture alone"):
        stretched(Image.new("RGB", (20, 20)), np.random.default_rng(0))
