"""Does the benchmark of vocabularies count what labels and truth have in common?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from annotate.images import FolderImages
from annotate.jobs.background import background
from annotate.model.annotator import Annotator
from annotate.model.elsewhere.vocabulary import Vocabulary
from annotate.model.recipe import Recipe
from benchmarks.annotate import vocabulary
from storage import Box
from tests.annotate.model.elsewhere.tiny_encoders import saved_encoder

pytest.importorskip("transformers")


def collection(folder: Path) -> tuple[Path, Path]:
    """Two pictures of random pixels, and truth of another size, of which a quarter does not count."""
    for name in ("pictures", "truth"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 256, (32, 64, 3), np.uint8)).save(folder / "pictures" / f"{number}.png")
        truth = rng.integers(0, 3, (16, 32), np.uint8).repeat(4, 0).repeat(4, 1)
        truth[:32, :64] = 255
        Image.fromarray(truth).save(folder / "truth" / f"{number}.png")
    return folder / "pictures", folder / "truth"


def test_labels_that_are_the_truth_have_all_in_common_with_it(tmp_path: Path) -> None:
    pictures, truth = collection(tmp_path)
    model = f"hf:{saved_encoder(tmp_path / 'clip')}"
    words = Vocabulary(names=("cat", "dog"), prompts=(("cat",), ("dog",)), threshold=0.0)
    fitted = background(FolderImages(pictures), Annotator(Recipe.for_model(model, vocabulary=words), k=2), 0.5)
    words = replace(words, threshold=fitted.threshold)
    annotator = Annotator(Recipe.for_model(model, vocabulary=words), k=2)
    for number in range(2):
        picture = np.asarray(Image.open(pictures / f"{number}.png"))
        label = annotator([picture])[0]
        rest = 1 - label.scores.sum(-1)
        best = np.where(rest > label.scores[..., 0], 0, label.classes[..., 0] + 1).astype(np.uint8)
        Image.fromarray(best.repeat(3, 0).repeat(3, 1)).save(truth / f"{number}.png")
    found = vocabulary.measure(annotator, words.names, pictures, truth)
    assert found.miou(background=True) == found.miou(background=False) == 1
    assert 0 < found.pointing <= 1
    assert (found.union > 0).sum() >= 2  # more than one class occurs
    turned = np.asarray(Image.open(truth / "0.png"))[::-1]
    Image.fromarray(np.ascontiguousarray(turned)).save(truth / "0.png")
    assert vocabulary.measure(annotator, words.names, pictures, truth).miou(background=True) < 0.9


def test_a_pixel_has_the_value_of_the_location_that_its_middle_lies_in() -> None:
    values = np.array([[1, 2], [3, 4]])
    assert vocabulary._at_pixels(values, Box.whole(), (4, 2)).tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
    assert vocabulary._at_pixels(values, Box(0, 0, 1, 0.5), (2, 4)).tolist() == [[1, 2, 0, 0], [3, 4, 0, 0]]


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    pictures, truth = collection(tmp_path)
    (tmp_path / "names.txt").write_text("cat\ndog\n[background]: sky; wall\n")
    model = f"hf:{saved_encoder(tmp_path / 'siglip', 'siglip')}"
    words = [str(pictures), str(truth), "--model", model, "--vocabulary", str(tmp_path / "names.txt")]
    result = CliRunner().invoke(vocabulary.main, [*words, "--head", "frozen"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "mIoU of the names" in result.output
    assert "\n| 2 | " in result.output


def test_the_threshold_of_the_encoder_itself_is_a_background(tmp_path: Path) -> None:
    pictures, truth = collection(tmp_path)
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    tables = []
    for threshold, kind in (("own", "siglip"), ("0.40600585", "siglip"), ("-0.9", "siglip"), ("own", "clip")):
        folder = tmp_path / kind
        model = f"hf:{folder if folder.exists() else saved_encoder(folder, kind)}"
        words = [str(pictures), str(truth), "--model", model, "--vocabulary", str(tmp_path / "names.txt")]
        tables.append(CliRunner().invoke(vocabulary.main, [*words, "--threshold", threshold]))
    own, same, other, refused = tables
    assert own.exit_code == same.exit_code == other.exit_code == 0, own.output
    assert own.output == same.output != other.output  # 3 / e², the cosine of the logit 0
    assert refused.exit_code == 1
    assert "Error: the encoder hf:clip has no threshold of its own" in refused.output


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    pictures, truth = collection(tmp_path)
    (tmp_path / "names.txt").write_text("cat\ndog\n[background]: sky\n")
    (pictures / "0.png").write_bytes(b"no picture")
    model = f"hf:{saved_encoder(tmp_path / 'clip')}"
    words = [str(pictures), str(truth), "--model", model, "--vocabulary", str(tmp_path / "names.txt")]
    result = CliRunner().invoke(vocabulary.main, words)
    assert result.exit_code == 1
    assert "0.png: undecodable, " in result.output


def test_truth_of_other_classes_and_pictures_without_any_are_named(tmp_path: Path) -> None:
    pictures, truth = collection(tmp_path)
    words = Vocabulary(names=("cat",), prompts=(("cat",),), background=("sky",))
    (tmp_path / "names.txt").write_text("cat\n[background]: sky\n")
    model = f"hf:{saved_encoder(tmp_path / 'clip')}"
    options = ["--model", model, "--vocabulary", str(tmp_path / "names.txt")]
    result = CliRunner().invoke(vocabulary.main, [str(pictures), str(truth), *options])
    assert "0.png must have one channel of 8 bits, with numbers from 0 to 1, or 255" in result.output
    (tmp_path / "none").mkdir()
    result = CliRunner().invoke(vocabulary.main, [str(pictures), str(tmp_path / "none"), *options])
    assert "has a PNG file of the same name" in result.output
    assert words.names == ("cat",)
