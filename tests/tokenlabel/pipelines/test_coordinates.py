"""Do libraries that say where they moved pixels, by a matrix or by a map, get the labels of these pixels?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from tests.tokenlabel.pipelines.traced_pictures import SOURCES, assert_true, errors
from tokenlabel import LabelError, coordinate_map, from_coordinates, from_matrix

PIPELINES: dict[str, Callable[[], Any]] = {
    "crop and mirror": lambda: v2.Compose([v2.RandomResizedCrop((64, 48)), v2.RandomHorizontalFlip(0.5)]),
    "rotation": lambda: v2.RandomRotation(40, interpolation=functional.InterpolationMode.BILINEAR),
    "perspective": lambda: v2.Compose([v2.RandomPerspective(0.4, 1.0), v2.Resize((64, 64))]),
    "padding": lambda: v2.Compose([v2.Resize((60, 60)), v2.Pad(9), v2.RandomErasing(1.0)]),
}


def pixels_of(picture: Image.Image) -> torch.Tensor:
    return functional.to_dtype(functional.to_image(picture), torch.float32, scale=True).as_subclass(torch.Tensor)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_map_that_went_through_the_same_transforms_says_where_pixels_are_from(name: str) -> None:
    pipeline, found = PIPELINES[name](), []
    for picture in SOURCES:
        places = torch.from_numpy(coordinate_map((picture.height, picture.width))).permute(2, 0, 1)
        for seed in range(5):
            torch.manual_seed(seed)
            moved = pipeline(pixels_of(picture))
            torch.manual_seed(seed)
            warp = from_coordinates(pipeline(places).permute(1, 2, 0).numpy())
            found.append(errors(moved, warp))
    assert_true(found)


MATRICES: dict[str, list[list[float]]] = {
    "mirror": [[-1, 0, 95], [0, 1, 0], [0, 0, 1]],
    "rotate": [[0.8, -0.5, 20], [0.5, 0.8, -6], [0, 0, 1]],
    "scale": [[0.6, 0, -0.2], [0, 0.7, -0.15], [0, 0, 1]],
    "perspective": [[1, 0.1, 3], [0.05, 0.9, 5], [0.001, 0.0005, 1]],
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_from_pixel_to_pixel_says_where_pixels_are_from(name: str) -> None:
    matrix, result, found = np.array(MATRICES[name]), (80, 96), []
    for picture in SOURCES:
        # PIL takes the way back, for pixels that are counted at their edges.
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        back = half @ np.linalg.inv(matrix) @ np.linalg.inv(half)
        data = (back / back[2, 2]).ravel()[:8].tolist()
        moved = picture.transform(
            result[::-1], Image.Transform.PERSPECTIVE, data, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)
        )
        warp = from_matrix(matrix, source=(picture.height, picture.width), result=result)
        found.append(errors(pixels_of(moved), warp))
    assert_true(found)


def test_what_is_neither_a_matrix_nor_a_map_is_refused() -> None:
    for wrong in (np.eye(2), np.eye(3)[None], np.zeros((3, 3)), np.full((3, 3), np.nan)):
        with pytest.raises(LabelError, match="takes one 3x3 matrix .* of a batch, give one at a time"):
            from_matrix(wrong, source=(4, 4), result=(4, 4))
    with pytest.raises(LabelError, match=r"takes a map \[H, W, 3\], what .* became, not \[4, 4, 2\]"):
        from_coordinates(np.zeros((4, 4, 2)))
    with pytest.raises(LabelError, match="shows no pixel of the source"):
        from_coordinates(np.zeros((4, 4, 3)))
