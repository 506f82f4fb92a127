"""Is what is known of pictures and labels compared, so that no picture silently learns another one's label?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Image
from timm.data import ImageDataset
from torch.utils.data import ConcatDataset, Subset
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from tokenlabel import Crops, LabeledImages, LabelError, folder_keys

ARGUMENTS: dict[str, Any] = {"augment": Crops((16, 16)), "tokens": (2, 2), "class_count": 10}


class Own(torch.utils.data.Dataset[Any]):
    """A dataset of one's own, that says nothing about its pictures."""

    def __init__(self, images: ImageFolder, number: Callable[[int], int] = int) -> None:
        self.images, self.number = images, number

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        picture, label = self.images[index]
        return picture, self.number(label)


@pytest.fixture
def images(scene_folder: Path) -> ImageFolder:
    return ImageFolder(scene_folder / "images" / "val")


def test_classes_that_are_numbered_otherwise_are_refused_at_once(images: ImageFolder, finished: Path) -> None:
    images.targets = [(target + 1) % 10 for target in images.targets]
    first = folder_keys(images)[0]
    for pictures in (images, Subset(images, range(30)), ConcatDataset([Subset(images, [n]) for n in range(30)])):
        with pytest.raises(LabelError, match=rf"30 of 30 pictures have another .*: '{first}' has class 1, not 0, .*27"):
            LabeledImages(pictures, finished, keys=folder_keys(images), **ARGUMENTS)
    data = LabeledImages(images, finished, keys=folder_keys(images), own_classes=False, **ARGUMENTS)
    assert data[0].label == -1


def test_classes_of_timms_and_torchvisions_datasets_are_compared_at_once(images: ImageFolder, finished: Path) -> None:
    of_folder, of_tar = ImageDataset(images.root), ImageDataset(images.root)
    of_folder.reader.samples = [(path, (target + 1) % 10) for path, target in of_folder.reader.samples]
    of_tar.reader.targets = np.array([(target + 1) % 10 for _, target in of_tar.reader.samples])

    class Flowers(Own):
        """Holds its classes as many of torchvision's datasets do."""

        __module__ = "torchvision.datasets.flowers102"

    flowers = Flowers(images)
    flowers._labels = [(target + 1) % 10 for target in images.targets]
    for pictures in (of_folder, of_tar, flowers):
        with pytest.raises(LabelError, match="30 of 30 pictures have another class in the dataset"):
            LabeledImages(pictures, finished, keys=folder_keys(images), **ARGUMENTS)
    right = ImageDataset(images.root)
    assert len(LabeledImages(right, finished, keys=right.filenames(), **ARGUMENTS)) == 30


def test_classes_that_the_dataset_renumbers_as_it_gives_them_are_those_that_are_compared(
    images: ImageFolder, finished: Path
) -> None:
    for shift, refused in ((9, False), (0, True)):
        renumbered = ImageFolder(images.root, target_transform=lambda target, shift=shift: (target + shift) % 10)
        renumbered.targets = [(target + 1) % 10 for target in images.targets]
        renumbered.samples = [(path, (target + 1) % 10) for path, target in images.samples]
        data = LabeledImages(renumbered, finished, **ARGUMENTS)
        if refused:
            with pytest.raises(LabelError, match="has class . in the dataset, but . in"):
                data[0]
        else:
            assert data[0].label == images.targets[0]


def test_shuffled_keys_are_refused_at_once_where_the_dataset_knows_its_classes(
    images: ImageFolder, finished: Path
) -> None:
    keys = folder_keys(images)
    keys[0], keys[-1] = keys[-1], keys[0]
    with pytest.raises(LabelError, match=r"2 of 30 pictures have another class .* keys are in another order"):
        LabeledImages(images, finished, keys=keys, **ARGUMENTS)


def test_a_class_that_is_only_known_when_a_picture_is_drawn_is_compared_then(
    images: ImageFolder, finished: Path
) -> None:
    keys = folder_keys(images)
    data = LabeledImages(Own(images, lambda label: (label + 1) % 10), finished, keys=keys, **ARGUMENTS)
    with pytest.raises(LabelError, match=f"the picture '{keys[4]}' has class . in the dataset, but . in .*finished"):
        data[4]
    part = data.subset([4])
    with pytest.raises(LabelError, match=f"the picture '{keys[4]}' has class"):
        part[0]


def test_pictures_that_were_relabelled_may_have_other_classes(images: ImageFolder, finished: Path) -> None:
    pictures = Own(images, lambda label: (label + 1) % 10)
    data = LabeledImages(pictures, finished, keys=folder_keys(images), compare_targets=False, **ARGUMENTS)
    assert [int(data[n].label) for n in (0, 29)] == [(images.targets[n] + 1) % 10 for n in (0, 29)]


def test_a_transform_of_any_dataset_is_refused(images: ImageFolder, finished: Path) -> None:
    flip = v1.RandomHorizontalFlip(1.0)
    own = Own(images)
    own._augmentations = flip
    rows = Dataset.from_dict({"image": [path for path, _ in images.samples]}).cast_column("image", Image())
    rows.set_transform(lambda batch: {"image": [flip(each) for each in batch["image"]]})
    for pictures, name in (
        (ImageDataset(images.root, transform=flip), "ImageDataset.transform"),
        (ImageFolder(images.root, flip), "ImageFolder.transform"),
        (own, "Own.augmentations"),
        (ConcatDataset([ImageFolder(images.root, flip)]), "ImageFolder.transform"),
        (Own(ImageDataset(images.root, transform=flip)), "ImageDataset.transform"),
        (rows, "Dataset.set_transform"),
    ):
        with pytest.raises(LabelError, match=rf"has a transform of its own \({name}\)"):
            LabeledImages(pictures, finished, keys=folder_keys(images), **ARGUMENTS)


def test_a_transform_that_is_set_later_is_refused_in_the_next_epoch(images: ImageFolder, finished: Path) -> None:
    """Also on a dataset inside, and where it leaves the size of pictures as it is."""
    folder = ImageFolder(images.root)
    data = LabeledImages(Subset(folder, range(2)), finished, keys=folder_keys(folder)[:2], **ARGUMENTS)
    folder.transform = v1.RandomHorizontalFlip(1.0)
    with pytest.raises(LabelError, match=r"has a transform of its own \(ImageFolder.transform\)"):
        data[0]
    folder.transform = None
    data[0]
    folder.transform = v1.RandomHorizontalFlip(1.0)
    data.set_epoch(1)
    with pytest.raises(LabelError, match=r"has a transform of its own \(ImageFolder.transform\)"):
        data.subset([0])[0]


@pytest.mark.parametrize("name", ["transforms", "_augs", "tfms"])
def test_a_list_of_steps_or_the_method_of_a_pipeline_is_a_transform(
    images: ImageFolder, finished: Path, name: str
) -> None:
    flip = v1.RandomHorizontalFlip(1.0)
    for given in ([flip], (v1.CenterCrop(9), flip), flip.forward):
        own = Own(images)
        setattr(own, name, given)
        with pytest.raises(LabelError, match=rf"has a transform of its own \(Own.{name.removeprefix('_')}\)"):
            LabeledImages(own, finished, keys=folder_keys(images), **ARGUMENTS)


def test_a_pipeline_of_a_library_is_a_transform_under_any_name(images: ImageFolder, finished: Path) -> None:
    flip = v1.RandomHorizontalFlip(1.0)
    for given in (flip, v2.Compose([v2.ToImage()]), [flip]):
        own = Own(images)
        own.moves = given
        with pytest.raises(LabelError, match=r"has a transform of its own \(Own.moves\)"):
            LabeledImages(own, finished, keys=folder_keys(images), **ARGUMENTS)
    own, wrapper = Own(images), Own(images)
    own.inside = ImageFolder(images.root, flip)
    wrapper.itself = wrapper
    with pytest.raises(LabelError, match=r"has a transform of its own \(ImageFolder.transform\)"):
        LabeledImages(own, finished, keys=folder_keys(images), **ARGUMENTS)
    wrapper.moves_label = v2.Lambda(int)
    wrapper.filter = v1.InterpolationMode.BICUBIC
    assert len(LabeledImages(wrapper, finished, keys=folder_keys(images), **ARGUMENTS)) == 30


def test_a_method_called_transform_is_no_transform(images: ImageFolder, finished: Path) -> None:
    class WithMethod(Own):
        def transform(self) -> None:
            """Something else."""

    assert len(LabeledImages(WithMethod(images), finished, keys=folder_keys(images), **ARGUMENTS)) == 30


def test_classes_in_another_order_are_refused(images: ImageFolder, finished: Path) -> None:
    images.classes = images.classes[::-1]
    for pictures in (images, Subset(images, range(30))):
        with pytest.raises(LabelError, match="in another order: class 0 is '9' in the dataset and '0' in the labels"):
            LabeledImages(pictures, finished, keys=folder_keys(images), **ARGUMENTS)
