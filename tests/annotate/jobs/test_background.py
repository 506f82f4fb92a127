"""Is a fitted threshold the cosine that leaves the given share to no name, and is the background in what is fitted?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from annotate.errors import AnnotateError
from annotate.images import FolderImages
from annotate.jobs.background import Background, background
from annotate.jobs.calibrate import calibrate
from annotate.model.annotator import Annotator
from annotate.model.elsewhere.dense_answer import dense_answer
from annotate.model.elsewhere.vocabulary import Vocabulary
from annotate.model.recipe import Recipe
from tests.annotate.model.elsewhere.tiny_encoders import saved_encoder
from tests.annotate.model.elsewhere.tiny_networks import noise

pytest.importorskip("transformers")

WORDS = Vocabulary(names=("cat", "dog"), prompts=(("cat",), ("dog",)), background=("sky", "wall"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """SigLIP, whose logits are cosine · e² − 3."""
    return f"hf:{saved_encoder(tmp_path_factory.mktemp('encoder') / 'siglip', 'siglip')}"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of noise in the folders cat and dog; each has its number in its first pixel."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("cat", "dog"):
        (folder / name).mkdir()
    for number in range(8):
        pixels = noise(number, (32, 64))
        pixels[0, 0] = number
        Image.fromarray(pixels).save(folder / ("cat", "dog")[number % 2] / f"{number}.png")
    return folder


def annotator(
    model: str, words: Vocabulary = WORDS, kind: type[Annotator] = Annotator, head: str = "local"
) -> Annotator:
    return kind(replace(Recipe.for_model(model, vocabulary=words), head=head), k=1)


def cosines(model: str, images: Path) -> np.ndarray:
    """Of the best name at each location of each picture: [8, locations], by the encoder's own texts."""
    recipe = Recipe.for_model(model, vocabulary=WORDS)
    dense = dense_answer(recipe.networks[0], "local")[0]
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (recipe.networks[0].mean, recipe.networks[0].std))
    files = sorted(images.rglob("*.png"), key=lambda file: int(file.stem))
    pixels = torch.stack([torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1) for file in files])
    with torch.inference_mode():
        logits = dense((pixels / 255 - mean) / std)[..., :2].amax(-1).flatten(1)
    return ((logits.double() + 3) / np.exp(2.0)).numpy()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_threshold_is_the_cosine_below_which_the_best_name_of_that_share_is(
    model: str, images: Path, share: float
) -> None:
    found = background(FolderImages(images), annotator(model), share)
    expected = np.sort(cosines(model, images).ravel())
    assert found.threshold == pytest.approx(np.quantile(expected, share, method="lower"), abs=2e-3)
    assert found.spread == pytest.approx(np.quantile(expected, (0.05, 0.5, 0.95)), abs=5e-3)
    assert (found.pictures, found.share) == (8, share)
    assert expected[-1] - expected[0] > 0.2


def test_the_background_that_a_vocabulary_has_already_makes_no_difference(model: str, images: Path) -> None:
    first, *others = [
        background(FolderImages(images), annotator(model, words), 0.3)
        for words in (WORDS, replace(WORDS, background=(), threshold=0.9), replace(WORDS, threshold="own"))
    ]
    for found in others:
        assert found.threshold == pytest.approx(first.threshold, abs=1e-5)
        assert found.spread == pytest.approx(first.spread, abs=1e-5)


class Broken(Annotator):
    """Gives NaN for the pictures of these numbers."""

    numbers: tuple[int, ...] = (3,)

    def location_logits(self, pictures: Sequence[np.ndarray]) -> Iterator[torch.Tensor]:
        of_these = torch.tensor([int(picture[0, 0, 0]) in self.numbers for picture in pictures])
        for values in super().location_logits(pictures):
            yield torch.where(of_these[:, None, None, None], torch.nan, values)


class AllBroken(Broken):
    """Gives NaN for all pictures."""

    numbers = (*range(8),)


def test_a_picture_without_a_finite_answer_is_left_out(model: str, images: Path) -> None:
    found = background(FolderImages(images), annotator(model, kind=Broken), 1.0)
    others = np.delete(cosines(model, images), 3, axis=0)
    assert found.threshold == pytest.approx(others.max(), abs=1e-5)


def test_without_any_finite_answer_no_background_is_fitted(model: str, images: Path, tmp_path: Path) -> None:
    why = "cannot fit a background: none of the chosen pictures can be read and has a finite answer; check the"
    with pytest.raises(AnnotateError, match=why):
        background(FolderImages(images), annotator(model, kind=AllBroken), 0.3)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(AnnotateError, match=why):
        background(FolderImages(tmp_path), annotator(model), 0.3)


def test_answers_beyond_a_cosine_are_refused_and_not_cut_off(model: str, images: Path) -> None:
    frozen = annotator(model, head="frozen")
    with pytest.raises(
        AnnotateError, match=r"no threshold leaves 100% of the locations to no name: it would be .*\.\d"
    ):
        background(FolderImages(images), frozen, 1.0)
    with pytest.raises(AnnotateError, match="on the scale of the whole picture: give --head local"):
        background(FolderImages(images), frozen, 0.0)


def test_only_one_encoder_has_a_cosine(model: str, images: Path, recipe: Recipe) -> None:
    one = Recipe.for_model(model, vocabulary=WORDS)
    why = "a background is fitted for one encoder with a vocabulary: give one --model hf:NAME and --vocabulary FILE"
    for other in (replace(one, networks=one.networks * 2), recipe):
        with pytest.raises(AnnotateError, match=why):
            background(FolderImages(images), Annotator(other, k=1), 0.3)


def test_a_temperature_is_fitted_to_what_labels_say_the_background_included(model: str, images: Path) -> None:
    classes = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])  # the folder cat, then dog
    asked = annotator(model, head="frozen")
    found = calibrate(FolderImages(images), asked, WORDS.names)
    files = sorted(images.rglob("*.png"))
    logits = asked.picture_logits([np.asarray(Image.open(file)) for file in files], with_rest=True)[0].double()
    assert logits.shape == (8, 4)
    for temperature, nll in zip((1.0, found.temperature), found.nll, strict=True):
        likely = (logits / temperature).log_softmax(-1)[range(8), classes]
        assert nll == pytest.approx(-float(likely.mean()), rel=1e-4)
    without = -float(logits[:, :2].log_softmax(-1)[range(8), classes].mean())
    assert found.nll[0] - without > 0.1


def test_a_threshold_in_toml_is_read_as_it_was_fitted() -> None:
    found = Background(threshold=0.12345678, share=0.4, pictures=3, spread=(0.1, 0.2, 0.3))
    assert found.to_toml().splitlines()[-1] == "threshold = 0.123457"
    assert found.to_toml().startswith("# threshold  0.1235: the best name of 40% of the locations of 3 pictures has")
