"""Does every draw of a picture show another crop, whatever carries the dataset, its indices and its epoch?"""

from __future__ import annotations

import copy
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from timm.data.distributed_sampler import RepeatAugSampler
from torch.utils.data import ConcatDataset, DataLoader, DistributedSampler, Subset, WeightedRandomSampler
from torchvision.datasets import ImageFolder

from tokenlabel import Crops, EpochSampler, LabeledImages, LabelError, collate
from tokenlabel.dataset.epoch import Draw

COPIES: dict[str, Callable[[Any], Any]] = {
    "as made": lambda data: data,
    "pickled": lambda data: pickle.loads(pickle.dumps(data)),
    "cloudpickled": lambda data: cloudpickle.loads(cloudpickle.dumps(data)),
    "deep-copied": copy.deepcopy,
}


@pytest.fixture
def images(scene_folder: Path) -> ImageFolder:
    return ImageFolder(scene_folder / "images" / "val")


@pytest.fixture
def make(images: ImageFolder, finished: Path) -> Callable[[], LabeledImages]:
    """A dataset as a new process would make it."""
    return lambda: LabeledImages(images, finished, augment=Crops((16, 16)), tokens=(2, 2), class_count=10, seed=5)


def crops(loader: Any) -> list[bytes]:
    return [picture.numpy().tobytes() for batch in loader for picture in batch.pixels]


def kept(data: Any, batch: int = 10, workers: int = 1, **options: Any) -> DataLoader[Any]:
    """A loader whose workers stay."""
    return DataLoader(data, batch, num_workers=workers, persistent_workers=True, collate_fn=collate, **options)


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Be one of two processes, as torchrun says it."""

    def become(rank: int) -> None:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")

    become(0)
    return become


@pytest.mark.parametrize("how", COPIES)
def test_the_epoch_reaches_workers_that_stay_of_a_dataset_that_was_copied(
    how: str, make: Callable[[], LabeledImages]
) -> None:
    data, expected = COPIES[how](make()), make()
    loader = kept(data, 30)
    for epoch in (0, 1, 2, 1):
        data.set_epoch(epoch)
        expected.set_epoch(epoch)
        assert crops(loader) == crops(DataLoader(expected, 30, collate_fn=collate))


def test_a_copy_has_an_epoch_of_its_own(make: Callable[[], LabeledImages]) -> None:
    data = make()
    data.set_epoch(3)
    other = copy.deepcopy(data)
    other.set_epoch(4)
    assert (data.epoch, other.epoch) == (3, 4)


def test_the_epoch_reaches_workers_that_were_spawned(make: Callable[[], LabeledImages]) -> None:
    data, expected = make(), make()
    loader = kept(data, 30, multiprocessing_context="spawn")
    for epoch in (0, 1):
        data.set_epoch(epoch)
        expected.set_epoch(epoch)
        assert crops(loader) == crops(DataLoader(expected, 30, collate_fn=collate))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_index_that_is_drawn_again_in_an_epoch_shows_another_crop(
    workers: int, make: Callable[[], LabeledImages]
) -> None:
    data = make()
    weighted = WeightedRandomSampler([1.0] * 10 + [0.0] * 20, 64)
    repeated = RepeatAugSampler(data, num_replicas=1, rank=0, num_repeats=3)
    tripled = ConcatDataset([Subset(data, range(4))] * 3)
    for loader in (
        DataLoader(data, 8, sampler=weighted, num_workers=workers, collate_fn=collate),
        DataLoader(data, 8, sampler=repeated, num_workers=workers, collate_fn=collate),
        DataLoader(tripled, 4, num_workers=workers, collate_fn=collate),
    ):
        found = crops(loader)
        assert len(found) == len({*found}) >= 12


def test_two_processes_show_other_crops_of_the_same_picture(
    make: Callable[[], LabeledImages], two_processes: Callable[[int], None]
) -> None:
    found = []
    for rank in (0, 1):
        two_processes(rank)
        data = make()
        repeated = RepeatAugSampler(data, num_replicas=2, rank=rank, num_repeats=4)
        found += crops(DataLoader(data, 8, sampler=repeated, num_workers=2, collate_fn=collate))
        sampler = EpochSampler(data, repeated)
        assert {draw.repeat for draw in sampler} == {rank, rank + 2}
    assert len(found) == len({*found}) == 30


@pytest.mark.parametrize("persistent", [False, True])
def test_a_subset_that_is_never_told_the_epoch_shows_other_crops_in_each(
    persistent: bool, make: Callable[[], LabeledImages]
) -> None:
    """Hugging Face's Trainer calls set_epoch of the dataset that it was given, and torch's Subset has none."""
    loader = DataLoader(
        Subset(make(), range(8)), 4, num_workers=2, persistent_workers=persistent, collate_fn=collate, shuffle=True
    )
    found = [crop for _ in range(3) for crop in crops(loader)]
    assert len(found) == len({*found}) == 24


def test_a_subset_of_ours_is_told_the_epoch_and_has_the_labels_of_its_pictures(
    make: Callable[[], LabeledImages],
) -> None:
    data = make()
    part, whole = data.subset([7, 3]), data[3]
    assert [int(part[n].label) for n in (0, 1)] == [int(data[n].label) for n in (7, 3)]
    loader = kept(part, 2)
    found = []
    for epoch in (0, 1, 0):
        part.set_epoch(epoch)
        found.append(crops(loader))
    assert found[0] == found[2] != found[1]
    part.set_epoch(4)
    assert (part.epoch, data.epoch) == (4, 0)
    assert len(part) == 2
    assert whole.targets.classes.shape == part[1].targets.classes.shape


def test_a_distributed_sampler_that_is_not_told_the_epoch_is_noticed(
    make: Callable[[], LabeledImages], two_processes: Callable[[int], None]
) -> None:
    """timm's train.py calls set_epoch of the dataset, and only of the sampler where the dataset has none."""
    data = make()
    sampler = DistributedSampler(data, num_replicas=2, rank=0)
    loader = kept(data, 5, sampler=sampler)
    for epoch in (0, 1):
        data.set_epoch(epoch)
        crops(loader)
    with pytest.warns(UserWarning, match="the same 15 of 30 pictures in the last two epochs: its sampler is not told"):
        data.set_epoch(2)


def test_a_distributed_sampler_that_is_told_the_epoch_is_in_order(
    make: Callable[[], LabeledImages], two_processes: Callable[[int], None]
) -> None:
    data = make()
    sampler = DistributedSampler(data, num_replicas=2, rank=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in range(4):
            data.set_epoch(epoch)
            sampler.set_epoch(epoch)
            crops(DataLoader(data, 5, sampler=sampler, collate_fn=collate))


@pytest.mark.parametrize("told", ["data", "sampler"])
def test_our_sampler_and_the_dataset_tell_each_other_the_epoch(told: str, make: Callable[[], LabeledImages]) -> None:
    data = make()
    sampler = EpochSampler(data, DistributedSampler(data, num_replicas=2, rank=1, seed=3))
    expected = DistributedSampler(data, num_replicas=2, rank=1, seed=3)
    for epoch in range(3):
        {"data": data, "sampler": sampler}[told].set_epoch(epoch)
        expected.set_epoch(epoch)
        assert [*sampler] == [*expected]
        assert {draw.epoch for draw in sampler} == {epoch} == {data.epoch}
    assert len(sampler) == 15


def test_with_our_sampler_a_resumed_training_repeats_every_batch_whatever_the_workers(
    make: Callable[[], LabeledImages],
) -> None:
    class Weighted(list[int]):
        """Draws some pictures several times."""

    order = Weighted([3, 3, 7, 3, 9, 7] * 5)
    for inner in (None, order):
        data = make()
        first = [crops(kept(data, 6, 2, sampler=EpochSampler(data, inner)))]
        data.set_epoch(1)
        first.append(crops(DataLoader(data, 6, sampler=EpochSampler(data, inner), collate_fn=collate)))
        resumed = make()
        resumed.set_epoch(1)
        again = crops(kept(resumed, 6, 2, sampler=EpochSampler(resumed, inner)))
        assert again == first[1]
        assert len({*first[0], *first[1]}) == 60


def test_a_resumed_epoch_that_is_set_before_the_iterator_is_exact(make: Callable[[], LabeledImages]) -> None:
    expected, data = make(), make()
    expected.set_epoch(2)
    data.set_epoch(2)  # where Lightning calls train_dataloader
    batches = iter(kept(data, 5, 2, prefetch_factor=2))
    time.sleep(0.5)
    data.set_epoch(2)  # and in on_train_epoch_start
    assert crops(batches) == crops(DataLoader(expected, 5, collate_fn=collate))


@pytest.mark.parametrize("ours", [False, True])
def test_an_epoch_that_is_set_after_workers_have_drawn_is_an_error(
    ours: bool, make: Callable[[], LabeledImages]
) -> None:
    """Lightning makes the iterator before on_train_epoch_start, when it resumes a training."""
    data = make()
    batches = iter(kept(data, 2, 2, sampler=EpochSampler(data) if ours else None))
    next(batches)  # some were drawn: they are of epoch 0
    with pytest.raises(LabelError, match=r"set_epoch\(2\) came too late: .* of epoch 0. .* Lightning"):
        data.set_epoch(2)


def test_an_epoch_that_another_part_of_the_program_takes_back_is_an_error(make: Callable[[], LabeledImages]) -> None:
    """Accelerate's loader sets its own count of passes, which begins at 0 when a training is resumed."""
    data = make()
    data.set_epoch(3)
    data.set_epoch(3)
    with pytest.raises(LabelError, match=r"set_epoch\(0\) came after set_epoch\(3\), .* loader.set_epoch\(epoch\), in"):
        data.set_epoch(0)
    assert data.epoch == 3
    crops(kept(data, 15))
    data.set_epoch(0)
    assert data.epoch == 0


def test_a_first_pass_whose_epoch_was_not_set_is_epoch_0(make: Callable[[], LabeledImages]) -> None:
    data = make()
    crops(kept(data, 5, 2, drop_last=True))
    data.set_epoch(1)
    assert data.epoch == 1


@pytest.mark.parametrize("epoch", [-1, 1.5, "1"])
def test_an_epoch_that_is_no_count_is_refused(epoch: Any, make: Callable[[], LabeledImages]) -> None:
    with pytest.raises(LabelError, match="the epoch must be an integer of 0 or more"):
        make().set_epoch(epoch)


def test_a_draw_survives_pickling() -> None:
    draw = pickle.loads(pickle.dumps(Draw(7, epoch=2, repeat=3)))
    assert (draw, draw.epoch, draw.repeat) == (7, 2, 3)
    assert torch.arange(9)[draw] == 7
