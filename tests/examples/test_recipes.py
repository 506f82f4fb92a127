"""Do kornia and albumentations say where their pixels are from? Pictures show it, whose colours are coordinates."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from tests.examples.test_trainers import EXAMPLES, PAGE, need
from tests.tokenlabel.pipelines.traced_pictures import SOURCES, assert_true, errors
from tokenlabel import Warp, coordinate_map, from_coordinates, from_matrix

PICTURES = [np.array(picture) for picture in SOURCES]  # wide, tall and square
DRAWS = 5
NAMES = ["crop and mirror", "rotation, scale and shear", "perspective"]


@pytest.mark.parametrize("name", NAMES)
def test_kornias_matrices_name_the_points_that_its_pixels_show(name: str) -> None:
    need("kornia_student")
    K = pytest.importorskip("kornia.augmentation")  # noqa: N806 kornia's own name for it
    steps = {
        "crop and mirror": [K.RandomResizedCrop((64, 48), scale=(0.3, 1)), K.RandomHorizontalFlip()],
        "rotation, scale and shear": [K.RandomAffine(30, (0.1, 0.1), (0.8, 1.2), 10, p=1)],
        "perspective": [K.RandomPerspective(0.4, p=1)],
    }[name]
    augment = K.AugmentationSequential(*steps, data_keys=["input"])
    found = []
    torch.manual_seed(0)
    for picture in PICTURES:
        batch = torch.from_numpy(picture).permute(2, 0, 1).float().expand(DRAWS, -1, -1, -1) / 255
        moved, size = augment(batch), picture.shape[:2]
        for pixels, matrix in zip(moved, augment.transform_matrix, strict=True):
            found.append(errors(pixels, from_matrix(matrix, source=size, result=tuple(pixels.shape[1:]))))
    assert_true(found)


@pytest.mark.parametrize("name", [*NAMES, "erased"])
def test_albumentations_move_a_map_of_coordinates_with_the_picture(name: str) -> None:
    need("albumentations_student")
    A = pytest.importorskip("albumentations")  # noqa: N806 albumentations' own name for it
    cv2 = pytest.importorskip("cv2")
    steps = {
        "crop and mirror": [A.RandomResizedCrop((64, 48), scale=(0.3, 1)), A.HorizontalFlip()],
        "rotation, scale and shear": [A.Affine(rotate=(-30, 30), scale=(0.8, 1.2), shear=10, p=1)],
        "perspective": [A.Perspective((0.05, 0.2), p=1)],
        "erased": [A.CoarseDropout(p=1, fill_mask=0)],
    }[name]
    augment, found = A.Compose(steps, seed=0, mask_interpolation=cv2.INTER_LINEAR), []
    for picture in PICTURES:
        for _ in range(DRAWS):
            pixels, warp = _moved(augment, picture)
            found.append(errors(pixels, warp))
    assert_true(found)


def _moved(augment: Any, picture: np.ndarray) -> tuple[torch.Tensor, Warp]:
    done = augment(image=picture, mask=coordinate_map(picture.shape[:2]))
    return torch.from_numpy(done["image"]).permute(2, 0, 1).float() / 255, from_coordinates(done["mask"])


@pytest.mark.parametrize("name", ["kornia", "albumentations"])
def test_the_pages_recipe_is_that_of_the_program(name: str) -> None:
    program = {line.strip() for line in (EXAMPLES / f"{name}_student.py").read_text().splitlines()}
    (recipe,) = re.findall(rf"examples/{name}_student\.py`[^`]*```py\n(.*?)```", PAGE, flags=re.DOTALL)
    lines = [line.strip() for line in recipe.splitlines() if line.strip()]
    assert 2 < len(lines) <= 12
    assert set(lines) <= program
