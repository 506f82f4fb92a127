"""What becomes of a picture for which the network answers NaN? One row with a reason, and nothing else is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from annotate.images import FolderImages
from annotate.jobs.calibrate import calibrate
from annotate.jobs.plan import plan
from annotate.model.annotator import NOT_FINITE, Annotator
from annotate.model.network import Network
from annotate.model.recipe import Recipe
from storage import Status, open_store
from tests.annotate.jobs.conftest import label


@pytest.fixture
def pictures(val: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The val scenes and a flat picture, for a network that divides by the contrast of its input."""
    build = Network.build

    def divides(self: Network) -> torch.nn.Module:
        model = build(self)
        features = model.forward_features

        def forward(pixels: torch.Tensor) -> torch.Tensor:
            contrast = pixels.std((1, 2, 3), keepdim=True)
            contrast = torch.where(contrast < 1e-4, 0, contrast)
            return features(pixels) * (contrast / contrast)

        model.forward_features = forward
        return model

    monkeypatch.setattr(Network, "build", divides)
    folder = Path(shutil.copytree(val, tmp_path / "pictures"))
    Image.new("RGB", (80, 60), (90, 90, 90)).save(folder / "0" / "flat.png")
    return folder


def test_it_is_a_row_with_a_reason_and_its_shard_keeps_all_other_labels(
    pictures: Path, recipe: Recipe, finished: Path, tmp_path: Path
) -> None:
    # Without `compiled`, the run first times the networks on flat pictures: no answer, and no reason not to run.
    summary = label(pictures, tmp_path / "labels.zarr", recipe)
    assert (summary.pictures, summary.labelled, len(summary.given_up)) == (31, 30, 0)
    assert [(key, status, why) for key, status, why in summary.failures] == [("0/flat.png", "refused", NOT_FINITE)]
    store, expected = open_store(tmp_path / "labels.zarr"), open_store(finished)
    row = store.find("0/flat.png")
    assert store.read([row]).status.tolist() == [Status.REFUSED]
    for key in expected.keys:
        mine, theirs = store.read([store.find(key)]), expected.read([expected.find(key)])
        assert (mine.classes[..., 0] == theirs.classes[..., 0]).mean() > 0.99


def test_retry_failed_labels_its_shard_again_only_once_there_is_an_answer(
    pictures: Path, recipe: Recipe, tmp_path: Path
) -> None:
    store = tmp_path / "labels.zarr"
    first = label(pictures, store, recipe)
    assert "1 of them need no repair: they can be read, but the networks give no finite answer" in first.describe()
    assert "--retry-failed" not in first.describe()
    said: list[str] = []
    again = label(pictures, store, recipe, retry_failed=True, say=said.append)
    assert (again.tried, again.labelled) == (0, 30)
    assert any("of 1 pictures that failed before, 0 can be labelled now" in line for line in said)
    shutil.copy(next((pictures / "1").iterdir()), pictures / "0" / "flat.png")
    again = label(pictures, store, recipe, retry_failed=True)
    assert (again.tried > 0, again.labelled) == (True, 31)


def test_a_plan_counts_it_and_a_calibration_leaves_it_out(pictures: Path, recipe: Recipe) -> None:
    only = pictures / "0"
    for path in only.iterdir():
        if path.name != "flat.png":
            path.unlink()
    shutil.copy(next((pictures / "1").iterdir()), only / "good.jpg")
    found = plan(FolderImages(only), recipe, compiled=False)
    assert 0 < found.unreadable < found.probed
    source = FolderImages(pictures)
    fitted = calibrate(source, Annotator(recipe, k=1), tuple("0123456789"))
    assert fitted.pictures == len(source.keys) - 1
    assert 0.01 <= fitted.temperature <= 100
