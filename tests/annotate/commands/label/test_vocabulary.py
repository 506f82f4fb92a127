"""Does a person label pictures with names of their own, and is what is missing said before the job?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage import open_store
from tests.annotate.model.elsewhere.tiny_encoders import saved_encoder

pytest.importorskip("transformers")


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """The collection and the encoder of a command line."""
    (tmp_path / "images").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "names.txt").write_text("cat\ndog: dog; couch\n")
    folder = saved_encoder(tmp_path / "clip")
    return ["--model", f"hf:{folder}", "--vocabulary", tmp_path / "names.txt"]


def test_a_threshold_is_fitted_on_the_collection_and_labels_leave_that_share_to_no_name(
    command, words: list[object], tmp_path: Path
) -> None:
    images, store = tmp_path / "images", tmp_path / "labels.zarr"
    result = command("run", images, store, *words, "--local", "--top-k", 2)
    assert result.exit_code == 1
    assert "names.txt: the vocabulary has no background" in result.stderr
    assert not store.exists()
    fitted = command("calibrate", images, *words, "--background", 0.4, "-o", tmp_path / "t.toml")
    assert fitted.exit_code == 0, fitted.output
    assert "the best name of 40% of the locations of 3 pictures has a lower cosine" in fitted.stdout
    result = command("run", images, store, *words, "--local", "--top-k", 2, "--config", tmp_path / "t.toml")
    assert result.exit_code == 0, result.output
    found = open_store(store)
    assert found.schema.class_names == ("cat", "dog")
    scores = found.read([0, 1, 2]).scores
    share = float((1 - scores.sum(-1) > scores[..., 0]).mean())
    assert share == pytest.approx(0.4, abs=0.05)
    answer = json.loads(command("calibrate", images, *words, "--background", 0.4, "--json").stdout)
    known = found.schema.recipe["networks"][0]["model_kwargs"]["vocabulary"]
    assert answer["threshold"] == pytest.approx(known["threshold"], abs=1e-5)


def test_what_is_no_vocabulary_or_has_none_is_said(command, words: list[object], tmp_path: Path) -> None:
    images = tmp_path / "images"
    wrong = command("show", images, *words, "--threshold", "high")
    assert (wrong.exit_code, "give a cosine from -1 to 1, for example 0.21, or own" in wrong.stderr) == (2, True)
    alone = command("show", images, *words[:2], "--threshold", 0.1)
    assert (alone.exit_code, "give --vocabulary FILE with it" in alone.stderr) == (2, True)
    own = command("show", images, *words, "--threshold", "own")
    assert (own.exit_code, "has no threshold of its own" in own.stderr) == (1, True)
    none = command("calibrate", images, "--model", "test_resnet", "--background", 0.4)
    assert (none.exit_code, "--background fits the threshold of a vocabulary" in none.stderr) == (2, True)


def test_of_fewer_than_five_names_all_are_kept_unless_more_are_asked_for(
    command, words: list[object], tmp_path: Path
) -> None:
    images, store = tmp_path / "images", tmp_path / "labels.zarr"
    given = [*words, "--threshold", "0.1"]
    for name in ("show", "locality", "plan"):
        result = command(name, images, *given)
        assert result.exit_code == 0, (name, result.output)
    assert command("run", images, store, *given, "--local").exit_code == 0
    assert open_store(store).schema.k == 2
    for more in ([], ["--top-k", 2]):
        again = command("run", images, store, *given, "--local", *more)
        assert again.exit_code == 0, again.output
    other = command("run", images, store, *given, "--local", "--top-k", 1)
    assert (other.exit_code, "k: the store has 2, this run has 1" in other.stderr) == (1, True), other.stderr
    many = command("show", images, *given, "--top-k", 3)
    assert (many.exit_code, "it has 2 classes; give a k from 1 to 2" in many.stderr) == (1, True)


def test_the_encoder_of_a_store_may_lie_in_another_folder(
    command, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    images, store = tmp_path / "images", tmp_path / "labels.zarr"
    assert command("run", images, store, *words, "--threshold", "0.1", "--local").exit_code == 0
    (tmp_path / "clip").rename(tmp_path / "elsewhere")
    asked = ["fidelity", images, store, "--crops", 1, "--areas", "0.5"]
    absent = command(*asked)
    assert absent.exit_code == 1
    assert "error: hf:clip, which labelled" in absent.stderr
    assert "give --checkpoint FOLDER, the folder that `save_pretrained` wrote" in absent.stderr
    found = command(*asked, "--checkpoint", tmp_path / "elsewhere")
    assert found.exit_code == 0, found.output
    other = saved_encoder(tmp_path / "other", "metaclip")
    wrong = command(*asked, "--checkpoint", other)
    assert (wrong.exit_code, "other has changed since the job began: expected" in wrong.stderr) == (1, True)
    both = command(*asked, "--checkpoint", other, "--checkpoint", other)
    assert (both.exit_code, "saved: hf:clip; give one folder for each, in order" in both.stderr) == (1, True)


def test_where_no_name_is_more_probable_than_the_best_one_a_mask_has_none(
    command, words: list[object], tmp_path: Path
) -> None:
    images, store = tmp_path / "images", tmp_path / "labels.zarr"
    assert command("run", images, store, *words, "--threshold", "0.1", "--local").exit_code == 0
    label = open_store(store)[0]
    assert "mean probability of none of the 2 classes" in command("inspect", store).stdout
    assert command("export", store, tmp_path / "masks", "--to", "png").exit_code == 0
    with Image.open(tmp_path / "masks" / "masks" / "00000000.png") as mask:
        none = np.asarray(mask)[2::4, 2::4] == 0  # the middle of each location
    expected = 1 - label.scores.sum(-1) > label.scores[..., 0]
    assert 0 < expected.mean() < 1
    assert (none == expected).all()
