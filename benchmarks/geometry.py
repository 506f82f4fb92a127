"""Which place does each token's label come from, and which does the token show? `python -m benchmarks.geometry`

A picture whose colour encodes its own coordinates is put through a transform; what it then shows is the truth. Ours is
the warp that travels with it. Beside it stands the published recipe's arithmetic: rows and columns of a crop exchanged,
a map of the centre square taken for one of the whole picture, and a label that is turned and sheared on a square grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional
from tqdm import tqdm

from benchmarks.table import table
from storage import Box, Status
from storage import LabelMap as Label
from tokenlabel import random_view
from tokenlabel.transforms import LabelMap

SIZE, GRID, DRAWS, BINS = (375, 500), 18, 100, 60
Places = NDArray[np.float64]  # [n, (y, x)], unit coordinates of the source
Move = Callable[[torch.Tensor], torch.Tensor]
Recipe = Callable[[Places], Places]
_SQUARE = Box(0, 0.5 - SIZE[0] / SIZE[1] / 2, 1, 0.5 + SIZE[0] / SIZE[1] / 2)
_ANY = Label.unlabelled(Status.MISSING, grid=(1, 1), k=1, class_count=1)


@dataclass(frozen=True, slots=True)
class Row:
    """Mean distance, in cells of an 18x18 grid, between the place that is read and the one that is shown, and the mean
    overlap (intersection over union) of the regions; of the recipe None where it has nothing for the transform."""

    name: str
    ours: tuple[float, float]
    recipe: tuple[float, float] | None


def crop(rng: np.random.Generator) -> tuple[Move, Recipe]:
    """A random resized crop."""
    box = random_view(rng, SIZE, mirror=0).box
    top, left = round(box.top * SIZE[0]), round(box.left * SIZE[1])
    height, width = round(box.height * SIZE[0]), round(box.width * SIZE[1])
    swapped = Box(box.left, box.top, box.right, box.bottom)

    def recipe(points: Places) -> Places:
        inside = points * [swapped.height, swapped.width] + [swapped.top, swapped.left]
        return inside * [_SQUARE.height, _SQUARE.width] + [_SQUARE.top, _SQUARE.left]

    return lambda each: functional.resized_crop(each, top, left, height, width, [224, 224], antialias=True), recipe


def in_the_square(matrix: NDArray[np.float64]) -> Recipe:
    """A matrix [2, 2] on (y, x) about the middle of the square grid, which is a grid of the picture's centre."""

    def recipe(points: Places) -> Places:
        moved = (points - 0.5) @ matrix.T + 0.5
        return moved * [_SQUARE.height, _SQUARE.width] + [_SQUARE.top, _SQUARE.left]

    return recipe


def turn(rng: np.random.Generator) -> tuple[Move, Recipe]:
    """A rotation by up to 30°."""
    angle = float(rng.uniform(-30, 30))
    sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    return lambda each: functional.rotate(each, angle), in_the_square(np.array([[cos, sin], [-sin, cos]]))


def shear(rng: np.random.Generator) -> tuple[Move, Recipe]:
    """A shear along x by up to 0.3, about the middle."""
    factor = float(rng.uniform(-0.3, 0.3))
    degrees = math.degrees(math.atan(factor))
    matrix = np.array([[1, 0], [factor, 1]])
    return lambda each: functional.affine(each, 0, [0, 0], 1.0, [degrees, 0.0]), in_the_square(matrix)


def shift(rng: np.random.Generator) -> tuple[Move, Recipe]:
    """A shift along x by up to a quarter of the width."""
    pixels = int(rng.integers(-125, 126))

    def recipe(points: Places) -> Places:
        return (points - [0, pixels / SIZE[1]]) * [_SQUARE.height, _SQUARE.width] + [_SQUARE.top, _SQUARE.left]

    return lambda each: functional.affine(each, 0, [pixels, 0], 1.0, [0.0, 0.0]), recipe


def slant(rng: np.random.Generator) -> tuple[Move, None]:
    """A perspective whose corners move by up to a fifth of the sides."""
    height, width = SIZE
    corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    moved = [[x + int(rng.integers(-width // 10, width // 10)), y + int(rng.integers(-height // 10, height // 10))]
             for x, y in corners]  # fmt: skip
    return lambda each: functional.perspective(each, corners, moved), None


def bend(rng: np.random.Generator) -> tuple[Move, None]:
    """A smooth elastic displacement of up to some 20 pixels."""
    coarse = torch.from_numpy(rng.normal(size=(1, 2, 4, 5))).float() * 0.06
    field = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").permute(0, 2, 3, 1).contiguous()
    return lambda each: functional.elastic(each, field), None


def frame(rng: np.random.Generator) -> tuple[Move, None]:
    """Padding by up to 100 pixels on each side, then a resize."""
    sides = rng.integers(0, 101, 4).tolist()
    return lambda each: functional.resize(functional.pad(each, sides), [224, 224], antialias=True), None


TRANSFORMS = {
    "random resized crop": crop,
    "rotation by up to 30°": turn,
    "shear by up to 0.3": shear,
    "shift by up to a quarter": shift,
    "perspective": slant,
    "elastic": bend,
    "padding": frame,
}


def measure(*, draws: int = DRAWS) -> list[Row]:
    """Each transform, that many times."""
    rows = []
    for name, draw in TRANSFORMS.items():
        rng = np.random.default_rng(0)
        found = [_judge(*draw(rng)) for _ in tqdm(range(draws), desc=name, leave=False)]
        ours, recipe = zip(*found, strict=True)
        mean = None if recipe[0] is None else tuple(np.mean(recipe, 0).tolist())
        rows.append(Row(name, tuple(np.mean(ours, 0).tolist()), mean))
    return rows


def _judge(move: Move, recipe: Recipe | None) -> tuple[tuple[float, float], tuple[float, float] | None]:
    height, width = SIZE
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    shown = move(torch.stack([y, x, torch.ones_like(y)]))
    warp = move(LabelMap(_ANY, canvas=SIZE)).warp
    rows, columns = shown.shape[1:]
    grid = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    points = np.stack(grid, -1).reshape(-1, 2)
    colours = shown.permute(1, 2, 0).reshape(-1, 3).double().numpy()
    sees = colours[:, 2] > 0.999  # neither fill nor blended with it
    truth = colours[sees, :2]
    places, inside = warp.places(points)
    ours = _apart(places[sees], truth), _overlap(places[inside], truth)
    if recipe is None:
        return ours, None
    read = recipe(points)
    return ours, (_apart(read[sees], truth), _overlap(read[sees], truth))


def _apart(read: Places, truth: Places) -> float:
    return float(np.linalg.norm((read - truth) * GRID, axis=1).mean())


def _overlap(read: Places, truth: Places) -> float:
    """Intersection over union of the regions, in small squares of the source picture."""
    mine, theirs = (
        {*np.unique((np.clip(places, 0, 1 - 1e-9) * BINS).astype(int) @ [BINS, 1]).tolist()} for places in (read, truth)
    )
    return len(mine & theirs) / len(mine | theirs)


def describe(rows: list[Row]) -> str:
    """The table in Markdown."""
    cells = [
        [
            row.name,
            f"{row.ours[0]:.3f}",
            f"{row.ours[1]:.3f}",
            f"{row.recipe[0]:.2f}" if row.recipe else "has none",
            f"{row.recipe[1]:.2f}" if row.recipe else "",
        ]
        for row in rows
    ]
    return table(
        f"Where labels are read, on pictures of {SIZE[1]}x{SIZE[0]}",
        ["", "ours: cells off", "overlap", "recipe: cells off", "overlap"],
        cells,
        f"Means over {DRAWS} draws. Cells are those of an {GRID}x{GRID} grid; overlap is that of the region that is "
        "read with the one that is seen, as intersection over union.",
    )


def main() -> None:
    """Measure, and print the table."""
    print(describe(measure()))


if __name__ == "__main__":
    main()
