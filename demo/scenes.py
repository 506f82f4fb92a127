"""What do the pictures show? Scanned digits on photographs, with the truth of every pixel in a file beside them.

    data/images/train/<class>/<number>.jpg     input of all programs: a class-folder tree of JPEG files
    data/truth/train/<class>/<number>.png      read by the evaluation alone: the digit on each pixel, or BACKGROUND

The digits are the 1,797 scans of scikit-learn's `load_digits`, the photographs its two sample images; both are
part of the package. Every picture is a pure function of (seed, split, number). Its class is that of its largest digit.
No scan is used in both splits.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images
from tqdm import tqdm

CLASS_NAMES = tuple("0123456789")
SPLITS = {"train": 4000, "val": 1000}
SIDES = (64, 48)  # pixels: the long and the short side of every picture
BACKGROUND = 255  # in the truth: no digit here

# Bright digits on dimmed photographs are learnt in a minute of CPU; coloured ones on bright photographs are not.
_DIMMED = (0.25, 0.55)
_LARGEST, _SMALLEST = 36, 14


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture and its truth.

    picture: uint8 [H, W, 3]. truth: uint8 [H, W], the digit (0-9) whose ink box covers the pixel, else BACKGROUND.
    """

    picture: np.ndarray
    truth: np.ndarray
    digit: int


@cache
def photographs() -> tuple[Image.Image, ...]:
    """The two photographs, RGB, 640x427."""
    return tuple(Image.fromarray(pixels) for pixels in load_sample_images().images)


@cache
def scans(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The scans of one split: ink float32 [n, 8, 8] in [0, 1] and digit int64 [n]. Train has 70 % of them."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    cut = round(0.7 * len(order))
    chosen = order[:cut] if split == "train" else order[cut:]
    return (digits.images[chosen] / 16).astype(np.float32), digits.target[chosen]


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A dimmed random crop of a photograph: float32 [height, width, 3] in [0, 255]."""
    photo = photographs()[rng.integers(2)]
    scale = rng.uniform(1, 4)
    left = rng.uniform(0, photo.width - width * scale)
    top = rng.uniform(0, photo.height - height * scale)
    box = (left, top, left + width * scale, top + height * scale)
    crop = photo.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(crop, np.float32) * np.float32(rng.uniform(*_DIMMED))


def draw(canvas: np.ndarray, ink: np.ndarray, rows: slice, columns: slice) -> tuple[slice, slice]:
    """Draw one scan over rows and columns of the canvas, in place; return the rows and columns that its ink spans."""
    region = canvas[rows, columns]
    alpha = Image.fromarray(ink).resize(region.shape[1::-1], Image.Resampling.BICUBIC)
    opacity = np.clip(np.asarray(alpha), 0, 1)
    region += (255 - region) * opacity[..., None]
    down, across = (np.flatnonzero(opacity.max(axis) > 0.5) for axis in (1, 0))
    return (
        slice(rows.start + down[0], rows.start + down[-1] + 1),
        slice(columns.start + across[0], columns.start + across[-1] + 1),
    )


def scene(seed: int, split: str, number: int) -> Scene:
    """The picture of this number: 1 to 4 digits of different sizes that do not overlap."""
    rng = np.random.default_rng([seed, list(SPLITS).index(split), number])
    height, width = SIDES[::-1] if rng.random() < 0.5 else SIDES
    canvas = background(rng, height, width)
    truth = np.full((height, width), BACKGROUND, np.uint8)
    taken = np.zeros((height, width), bool)
    inks, digits = scans(split)
    largest = int(rng.integers(26, _LARGEST + 1))
    sides = [largest, *rng.integers(_SMALLEST, largest - 5, rng.integers(0, 4)).tolist()]
    drawn = []
    for side in sides:
        for _ in range(20):  # a small digit is left out after 20 tries without a free area; the first always finds one
            rows, columns = (slice(at, at + side) for at in rng.integers([height - side + 1, width - side + 1]))
            if not taken[rows, columns].any():
                index = rng.integers(len(digits))
                truth[draw(canvas, inks[index], rows, columns)] = digits[index]
                taken[rows, columns] = True
                drawn.append(int(digits[index]))
                break
    return Scene(canvas.round().astype(np.uint8), truth, drawn[0])


def write(root: Path, seed: int = 0, splits: dict[str, int] = SPLITS) -> None:
    """Write all pictures and their truth under root. Existing files are written again with the same bytes."""
    for split, count in splits.items():
        for number in tqdm(range(count), desc=f"scenes {split}", unit=" pictures", disable=None):
            made = scene(seed, split, number)
            name = Path(split, CLASS_NAMES[made.digit], f"{number:05d}")
            for kind, pixels, suffix in (("images", made.picture, ".jpg"), ("truth", made.truth, ".png")):
                path = root / kind / name.with_suffix(suffix)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, **({"quality": 92} if suffix == ".jpg" else {}))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
