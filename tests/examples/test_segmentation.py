"""Does a student of a segmenter's store learn what each pixel shows? The example of examples/segmentation is run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from annotate.images import FolderImages
from annotate.jobs.run import run as label
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from tests.examples.test_trainers import EXAMPLES, Overheard, code_lines, overheard, run

__all__ = ["overheard"]  # a fixture
EXAMPLE = EXAMPLES / "segmentation" / "segmentation_student.py"
COLOURS = """
from torch.nn.functional import avg_pool2d
class Colours:
    class_names, input_size, gives = ["red", "green"], (128, 128), "probabilities"
    def __call__(self, pixels):
        shares = avg_pool2d(pixels[:, :2], 4).permute(0, 2, 3, 1)
        return 0.9 * shares / shares.sum(-1, keepdim=True)
"""
pytestmark = pytest.mark.usefixtures("single_threaded")


def test_every_pixel_is_taught_the_class_that_it_shows_and_the_rest_is_a_class_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], overheard: Overheard
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "colours_of_pixels.py").write_text(COLOURS)
    (tmp_path / "photos" / "any").mkdir(parents=True)
    for number in range(16):
        pixels = np.zeros((160, 200, 3), np.uint8)
        middle = 40 + 8 * number
        pixels[:, :middle, 0], pixels[:, middle:, 1] = 255, 255
        pixels[:60] = np.roll(pixels[:60], 70, 1)  # the top has its edges elsewhere
        Image.fromarray(pixels).save(tmp_path / "photos" / "any" / f"{number:02}.png")
    recipe = Recipe.for_model("colours_of_pixels:Colours")
    label(FolderImages(tmp_path / "photos"), "labels.zarr", recipe, LocalWorkers(), k=2, allow_global=True)
    known = run(EXAMPLE, capsys)
    pixels, wanted = known["pixels"], known["wanted"]
    assert wanted.shape == (16, 3, 128, 128)
    torch.testing.assert_close(wanted.sum(1), torch.ones(16, 128, 128))
    # A byte holds the square root of a score: half a step at 0.9 is 0.0037.
    torch.testing.assert_close(wanted[:, 2], torch.full((16, 128, 128), 0.1), atol=4e-3, rtol=0)
    is_green = pixels[:, 1] > pixels[:, 0]
    assert 0.1 < is_green.float().mean() < 0.9
    assert ((wanted[:, 1] > wanted[:, 0]) == is_green).float().mean() > 0.97
    assert overheard.reached


def test_the_example_has_at_most_25_lines() -> None:
    assert 10 < len(code_lines(EXAMPLE.read_text())) <= 25
