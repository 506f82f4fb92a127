"""What does tracing a pipeline cost? The time of a training sample with its label over that of the picture alone.

Both draw the same crops of the same pictures: a large crop takes twice the time of a small one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import create_transform
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.reference import CLASS_COUNT, Maps
from benchmarks.rounds import Ratio, Rows, Timing, take_turns
from benchmarks.storage.copies import fill
from demo.markdown import section
from storage import create_store
from tokenlabel import LabeledImages, folder_keys

PICTURES, BATCH, TOKENS = 64, 32, (14, 14)
SIZE = (375, 500)  # ImageNet's usual one
_STATISTICS = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def _torchvision(*policy: Any) -> Any:
    """The reference preset of torchvision for classification."""
    moves = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip(), *policy]
    rest = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*_STATISTICS), v2.ToPureTensor()]
    return v2.Compose([*moves, *rest])


PIPELINES: dict[str, Callable[[], Any]] = {
    "torchvision's preset: crop, flip": _torchvision,
    "timm's default: crop, flip, colours": lambda: create_transform(224, is_training=True),
    "torchvision's preset with RandAugment": lambda: _torchvision(v2.RandAugment()),
    "timm's RandAugment, as LV-ViT uses it": lambda: create_transform(
        224, is_training=True, auto_augment="rand-m9-mstd0.5-mmax9-inc1"
    ),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Timings of a sample by pipeline: [the picture alone, the picture and its label]."""

    timings: dict[str, tuple[Timing, Timing]]

    def ratio(self, name: str) -> Ratio:
        """Processor time of a sample with its label over that without."""
        alone, labelled = (timing.processor for timing in self.timings[name])
        assert alone is not None
        assert labelled is not None
        return Ratio.of(labelled / alone)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            name: {"alone_ms": pair[0].median * 1e3, "labelled_ms": pair[1].median * 1e3, **asdict(self.ratio(name))}
            for name, pair in self.timings.items()
        }

    def describe(self) -> str:
        """A table."""
        rows = []
        for name, (alone, labelled) in self.timings.items():
            ratio = self.ratio(name)
            spread = f"{ratio.median:.3f} ({ratio.lower:.3f} to {ratio.upper:.3f})"
            rows.append([name, f"{alone.median * 1e3:.2f}", f"{labelled.median * 1e3:.2f}", spread])
        return section(
            f"A training sample of 224 pixels with its label, {TOKENS[0]}x{TOKENS[1]} tokens",
            ["", "picture alone, ms", "with its label, ms", "processor time, with over without"],
            rows,
            f"JPEG files of {SIZE[1]}x{SIZE[0]} pixels, decoded by Pillow, in batches of {BATCH} on one thread; "
            f"medians over {len(alone.seconds)} rounds, in turns, and in brackets the middle half of the rounds.",
        )


def measure(folder: Path, *, rounds: int = 15) -> Cost:
    """Write pictures and a store below the folder, and draw samples of both."""
    torch.set_num_threads(1)
    images, store = folder / "images", folder / "labels.zarr"
    _write_pictures(images)
    _write_labels(images, store)
    found = {}
    for name, make in PIPELINES.items():
        alone = _Seeded(ImageFolder(images, make()), draws=rounds + 2)
        labelled = LabeledImages(
            ImageFolder(images), store, augment=make(), tokens=TOKENS, class_count=CLASS_COUNT, own_classes=False
        )
        every = [*range(PICTURES)]
        pairs = zip(alone.pictures(every), labelled.__getitems__(every), strict=True)
        if not all(torch.equal(picture, example.pixels) for picture, example in pairs):
            raise RuntimeError(f"{name}: with their labels, the pictures are not the same as alone")
        ways: dict[str, Callable[[Rows], object]] = {
            "alone": lambda rows, alone=alone: alone.pictures(rows.tolist()),
            "labelled": lambda rows, labelled=labelled: labelled.__getitems__(rows.tolist()),
        }
        same = (rows for rows in _batches() for _ in ways)  # each turn draws its rows: both get those of the round
        first, second = take_turns(ways, lambda same=same: next(same), rounds=rounds, of=name)
        found[name] = first, second
    return Cost(found)


class _Seeded:
    """A folder of pictures that draws what LabeledImages with seed 0 draws in epoch 0.

    Args:
        images: with their augmentation.
        draws: how often each picture is drawn at most.
    """

    def __init__(self, images: ImageFolder, *, draws: int) -> None:
        self._images = images
        # Made beforehand: a loader of pictures alone would not seed each of them. To use the seeds takes 0.007 ms;
        # `torch.manual_seed`, which also thinks of GPUs, would take 0.13.
        self._seeds = [
            [int(np.random.default_rng([0, 0, index, draw]).integers(2**31)) for draw in range(draws)]
            for index in range(len(images))
        ]
        self._drawn = [0] * len(images)

    def pictures(self, indices: Sequence[int]) -> list[torch.Tensor]:
        found = []
        for index in indices:
            seed = self._seeds[index][self._drawn[index]]
            self._drawn[index] += 1
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            found.append(self._images[index][0])
        return found


def _batches() -> Iterator[Rows]:
    rng = np.random.default_rng()
    while True:
        yield rng.permutation(PICTURES)[:BATCH]


def _write_pictures(images: Path) -> None:
    """Crops of two photographs, as files in the folders of two classes."""
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        photograph = load_sample_images().images[number % 2]
        top, left = (
            int(rng.integers(0, whole - side + 1)) for whole, side in zip(photograph.shape, SIZE, strict=False)
        )
        path = images / str(number % 2) / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[top : top + SIZE[0], left : left + SIZE[1]]).save(path, quality=90)


def _write_labels(images: Path, address: Path) -> None:
    """The reference maps as the labels of these pictures."""
    maps = Maps.load(PICTURES)
    labels = replace(maps.labels(PICTURES), sizes=np.tile(np.array(SIZE, np.uint32), (PICTURES, 1)))
    fill(create_store(address, maps.schema(PICTURES), folder_keys(ImageFolder(images))), labels)
