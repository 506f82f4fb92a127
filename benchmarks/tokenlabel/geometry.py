"""Which region does each token's label come from, and which does the token show?

`python -m benchmarks.tokenlabel.geometry`

A picture whose colour encodes its own coordinates is put through a transform; what it then shows is the truth. Ours is
the warp that travels with it. Beside it stands the published method's arithmetic: rows and columns of a crop exchanged,
a map of the centre square taken for one of the whole picture, and a label that is turned and sheared on a square grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import Image
from tqdm import tqdm

from demo.markdown import section
from storage import Box, LabelMap, Status
from tokenlabel import RandAugment, TrivialAugmentWide, random_view
from tokenlabel.pipelines.label_tensor import LabelTensor

SIZE, OTHERS, GRID, DRAWS, BINS = (375, 500), ((500, 375), (400, 400)), 18, 100, 60
STEP = 2  # every second pixel of each axis is judged
Size = tuple[int, int]
Points = NDArray[np.float64]  # [n, (y, x)], unit coordinates of the source
Move = Callable[[torch.Tensor, LabelTensor], tuple[torch.Tensor, LabelTensor]]
Arithmetic = Callable[[Points], Points]
_SQUARE = Box(0, 0.5 - SIZE[0] / SIZE[1] / 2, 1, 0.5 + SIZE[0] / SIZE[1] / 2)
MOVING = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"}  # of what a policy does
_ANY = LabelMap.unlabelled(Status.MISSING, grid=(1, 1), k=1, class_count=1)


@dataclass(frozen=True, slots=True)
class Row:
    """The distance of the point that is read from the one that is shown, and the overlap of the regions.

    shapes: of ours, for pictures of SIZE and of OTHERS: (mean distance in cells of an 18x18 grid, mean overlap as
            intersection over union)
    published: the same two of the published method, for pictures of SIZE; None where it has nothing for the transform
    """

    name: str
    shapes: tuple[tuple[float, float], ...]
    published: tuple[float, float] | None

    @property
    def ours(self) -> tuple[float, float]:
        """Our worst result among the shapes."""
        return max(shape[0] for shape in self.shapes), min(shape[1] for shape in self.shapes)


def alike(function: Callable[..., Any], *args: Any, **named: Any) -> Move:
    """A function of torchvision, applied to picture and label."""
    return lambda picture, label: (function(picture, *args, **named), function(label, *args, **named))


def drawn(transform: Callable[..., Any], rng: np.random.Generator) -> Move:
    """A transform that makes its own random numbers."""
    seed = int(rng.integers(2**31))

    def move(picture: torch.Tensor, label: LabelTensor) -> tuple[torch.Tensor, LabelTensor]:
        torch.manual_seed(seed)
        moved: tuple[torch.Tensor, LabelTensor] = transform(Image(picture), label)
        return moved

    return move


def crop(rng: np.random.Generator, size: Size) -> tuple[Move, Arithmetic]:
    """A random resized crop."""
    box = random_view(rng, size, mirror=0).box
    top, left = round(box.top * size[0]), round(box.left * size[1])
    height, width = round(box.height * size[0]), round(box.width * size[1])
    swapped = Box(box.left, box.top, box.right, box.bottom)

    def published(points: Points) -> Points:
        return _in_the_square(points * [swapped.height, swapped.width] + [swapped.top, swapped.left])

    return alike(functional.resized_crop, top, left, height, width, [224, 224], antialias=True), published


def mirror(rng: np.random.Generator, size: Size) -> tuple[Move, Arithmetic]:
    """A mirror image; the published method mirrors its map too."""
    return alike(functional.horizontal_flip), lambda points: _in_the_square(points * [1, -1] + [0, 1])


def flip(rng: np.random.Generator, size: Size) -> tuple[Move, None]:
    """Upside down."""
    return alike(functional.vertical_flip), None


def resize(rng: np.random.Generator, size: Size) -> tuple[Move, Arithmetic]:
    """Another size."""
    sides = rng.integers(100, 400, 2).tolist()
    return alike(functional.resize, sides, antialias=True), _in_the_square


def center(rng: np.random.Generator, size: Size) -> tuple[Move, None]:
    """The middle, larger or smaller than the picture."""
    return alike(functional.center_crop, rng.integers(200, 600, 2).tolist()), None


def _in_the_square(points: Points) -> Points:
    """Where the published method reads a point of the picture: in a map of the square in its centre."""
    within: Points = points * [_SQUARE.height, _SQUARE.width] + [_SQUARE.top, _SQUARE.left]
    return within


def _by_matrix(matrix: NDArray[np.float64]) -> Arithmetic:
    """A matrix [2, 2] on (y, x) about the middle of the square grid."""
    return lambda points: _in_the_square((points - 0.5) @ matrix.T + 0.5)


def turn(rng: np.random.Generator, size: Size) -> tuple[Move, Arithmetic]:
    """A rotation by up to 30°."""
    angle = float(rng.uniform(-30, 30))
    sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    return alike(functional.rotate, angle), _by_matrix(np.array([[cos, sin], [-sin, cos]]))


def shear(rng: np.random.Generator, size: Size) -> tuple[Move, Arithmetic]:
    """A shear along x by up to 0.3, about the middle."""
    factor = float(rng.uniform(-0.3, 0.3))
    degrees = math.degrees(math.atan(factor))
    return alike(functional.affine, 0, [0, 0], 1.0, [degrees, 0.0]), _by_matrix(np.array([[1, 0], [factor, 1]]))


def shift(rng: np.random.Generator, size: Size) -> tuple[Move, Arithmetic]:
    """A shift along x by up to a quarter of the width."""
    pixels = int(rng.integers(-size[1] // 4, size[1] // 4 + 1))
    return (
        alike(functional.affine, 0, [pixels, 0], 1.0, [0.0, 0.0]),
        lambda points: _in_the_square(points - [0, pixels / size[1]]),
    )


def slant(rng: np.random.Generator, size: Size) -> tuple[Move, None]:
    """A perspective whose corners move by up to a fifth of the sides."""
    height, width = size
    corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    moved = [[x + int(rng.integers(-width // 10, width // 10)), y + int(rng.integers(-height // 10, height // 10))]
             for x, y in corners]  # fmt: skip
    return alike(functional.perspective, corners, moved), None


def bend(rng: np.random.Generator, size: Size) -> tuple[Move, None]:
    """A smooth elastic displacement of up to about 20 pixels."""
    coarse = torch.from_numpy(rng.normal(size=(1, 2, 4, 5))).float() * 0.06
    field = torch.nn.functional.interpolate(coarse, size, mode="bicubic").permute(0, 2, 3, 1).contiguous()
    return alike(functional.elastic, field), None


def frame(rng: np.random.Generator, size: Size) -> tuple[Move, None]:
    """Padding by up to 100 pixels on each side."""
    return alike(functional.pad, rng.integers(0, 101, 4).tolist()), None


def erase(rng: np.random.Generator, size: Size) -> tuple[Move, None]:
    """A rectangle of up to half the sides painted over."""
    height, width = (int(rng.integers(10, side // 2)) for side in size)
    top, left = int(rng.integers(size[0] - height)), int(rng.integers(size[1] - width))
    return alike(functional.erase, top, left, height, width, torch.zeros(3, 1, 1)), None


def zoom(rng: np.random.Generator, size: Size) -> tuple[Move, None]:
    """The picture somewhere on a canvas of up to three times its sides."""
    return drawn(v2.RandomZoomOut(side_range=(1.0, 3.0), p=1.0), rng), None


def policy(kind: Callable[[], Any]) -> Callable[[np.random.Generator, Size], tuple[Move, None]]:
    """The operations of a policy that move pixels; changes of colour would hide what a pixel shows."""
    transform = kind()
    transform._AUGMENTATION_SPACE = {name: how for name, how in transform._AUGMENTATION_SPACE.items() if name in MOVING}
    return lambda rng, size: (drawn(transform, rng), None)


TRANSFORMS: dict[str, Callable[[np.random.Generator, Size], tuple[Move, Arithmetic | None]]] = {
    "random resized crop": crop,
    "mirror": mirror,
    "upside down": flip,
    "resize": resize,
    "center crop": center,
    "rotation by up to 30°": turn,
    "shear by up to 0.3": shear,
    "shift by up to a quarter": shift,
    "perspective": slant,
    "elastic": bend,
    "padding": frame,
    "zoom-out": zoom,
    "erasing": erase,
    "RandAugment": policy(RandAugment),
    "TrivialAugmentWide": policy(TrivialAugmentWide),
}


def measure(*, draws: int = DRAWS) -> list[Row]:
    """Measure each transform `draws` times on pictures of each shape."""
    rows = []
    for name, draw in TRANSFORMS.items():
        shapes: list[tuple[float, float]] = []
        of_published: list[tuple[float, float] | None] = []
        for size in (SIZE, *OTHERS):
            rng = np.random.default_rng(0)
            found = [_judge(*draw(rng, size), size) for _ in tqdm(range(draws), desc=f"{name} {size}", leave=False)]
            ours, published = zip(*found, strict=True)
            shapes.append(_mean(ours))
            of_published.append(None if published[0] is None else _mean(published))
        rows.append(Row(name, tuple(shapes), of_published[0]))
    return rows


def _mean(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    first, second = np.mean(pairs, 0).tolist()
    return first, second


def _judge(
    move: Move, published: Arithmetic | None, size: Size
) -> tuple[tuple[float, float], tuple[float, float] | None]:
    height, width = size
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    shown, label = move(torch.stack([y, x, torch.ones_like(y)]), LabelTensor(_ANY, canvas=size))
    rows, columns = shown.shape[1:]
    judged = np.arange(0, rows, STEP), np.arange(0, columns, STEP)
    grid = np.meshgrid((judged[0] + 0.5) / rows, (judged[1] + 0.5) / columns, indexing="ij")
    points = np.stack(grid, -1).reshape(-1, 2)
    colours = shown[:, ::STEP, ::STEP].permute(1, 2, 0).reshape(-1, 3).double().numpy()
    sees = colours[:, 2] > 0.999  # neither fill nor blended with it
    truth = colours[sees, :2]
    found, inside = label.warp.trace_back(points)
    ours = _apart(found[sees], truth), _overlap(found[inside], truth)
    if published is None:
        return ours, None
    read = published(points)
    return ours, (_apart(read[sees], truth), _overlap(read[sees], truth))


def _apart(read: Points, truth: Points) -> float:
    return float(np.linalg.norm((read - truth) * GRID, axis=1).mean())


def _overlap(read: Points, truth: Points) -> float:
    """Intersection over union of the regions, in small squares of the source picture."""
    mine, theirs = (
        {*np.unique((np.clip(found, 0, 1 - 1e-9) * BINS).astype(int) @ [BINS, 1]).tolist()} for found in (read, truth)
    )
    return len(mine & theirs) / len(mine | theirs)


def describe(rows: list[Row]) -> str:
    """The table in Markdown."""
    cells = [
        [
            row.name,
            *(f"{away:.3f}, {overlap:.3f}" for away, overlap in row.shapes),
            f"{row.published[0]:.2f}" if row.published else "has none",
            f"{row.published[1]:.2f}" if row.published else "",
        ]
        for row in rows
    ]
    wide, *others = (f"{size[1]}x{size[0]}" for size in (SIZE, *OTHERS))
    return section(
        "Where labels are read",
        ["", f"ours, {wide}", *(f"{other}" for other in others), f"published, {wide}: cells off", "overlap"],
        cells,
        f"Ours: mean distance in cells of an {GRID}x{GRID} grid, and mean overlap of the region that is read with the "
        f"one that is seen, as intersection over union; means over {DRAWS} draws of each shape. Of the policies only "
        "operations that move pixels are used.",
    )


def main() -> None:
    """Measure, and print the table."""
    print(describe(measure()))


if __name__ == "__main__":
    main()
