"""Is a finer map averaged to the grid that is asked for, by area and within the same box?"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from annotate.errors import AnnotateError
from annotate.model.annotator import Annotator
from annotate.model.augmented_views import area_average
from annotate.model.recipe import Recipe

OWN = """
import torch
from storage import Box
class Own:
    class_names, input_size, gives = ["a", "b", "c"], (24, 36), "logits"
    box = Box(0, 0, 1, 0.5)
    def __call__(self, pixels):
        return 3 * pixels.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5)).permute(0, 2, 3, 1)
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Of a map of 6x9 locations, which covers the left half of its input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_grid.py").write_text(OWN)
    monkeypatch.delitem(sys.modules, "own_grid", raising=False)
    return Recipe.for_model("own_grid:Own")


def dense(annotator: Annotator, picture: np.ndarray) -> np.ndarray:
    label = annotator([picture])[0]
    found = np.zeros(label.scores.shape)
    np.put_along_axis(found, label.classes.astype(int), label.scores, -1)
    return found


def test_an_average_by_area_is_that_of_the_pixels_of_a_map_enlarged_to_a_common_multiple() -> None:
    fine = torch.rand(2, 6, 9, 3, generator=torch.Generator().manual_seed(0))
    for h, w in ((6, 9), (3, 3), (4, 5), (1, 1), (5, 2)):
        enlarged = fine.repeat_interleave(h, 1).repeat_interleave(w, 2)  # 6h x 9w: whole pixels in both grids
        expected = enlarged.reshape(2, h, 6, w, 9, 3).mean((2, 4))
        torch.testing.assert_close(area_average(fine, (h, w)), expected)


@pytest.mark.parametrize("grid", [(3, 3), (4, 5)])
def test_probabilities_are_averaged_before_the_best_are_kept_and_the_box_stays(
    recipe: Recipe, grid: tuple[int, int]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    own = Annotator(recipe, k=3)
    coarse = Annotator(replace(recipe, grid=grid), k=3)
    expected = area_average(torch.from_numpy(dense(own, picture))[None], grid)[0]
    np.testing.assert_allclose(dense(coarse, picture), expected, atol=1e-6)
    assert coarse.grid == grid
    assert coarse([picture]).boxes.tolist() == own([picture]).boxes.tolist() == [[0, 0, 1, 0.5]]
    best = Annotator(replace(recipe, grid=grid), k=1)([picture])
    assert best.scores[0, ..., 0].max() == pytest.approx(float(expected.amax(-1).max()), abs=1e-6)


def test_a_grid_finer_than_the_map_is_refused(recipe: Recipe) -> None:
    for grid in ((7, 9), (6, 10)):
        with pytest.raises(
            AnnotateError, match=rf"own_grid:Own has 6x9 locations, and the grid {grid[0]}x{grid[1]} is"
        ):
            Annotator(replace(recipe, grid=grid), k=1)
    with pytest.raises(AnnotateError, match="at least 1x1 locations"):
        replace(recipe, grid=(0, 3))


def test_a_recipe_with_a_grid_comes_back_from_json_and_one_without_has_no_key(recipe: Recipe) -> None:
    coarse = replace(recipe, grid=(3, 3), flip=True)
    assert Recipe.from_json(json.loads(json.dumps(coarse.to_json()))) == coarse
    assert "grid" not in recipe.to_json()
    assert Recipe.from_json(recipe.to_json()) == recipe
