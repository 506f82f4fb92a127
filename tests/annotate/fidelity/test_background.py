"""Is what belongs to no name compared too, as one class more?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import entropy

from annotate.fidelity import annotator_of_store, fidelity
from annotate.fidelity.distribution import answer_in
from annotate.images import FolderImages, by_key
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.elsewhere.vocabulary import Vocabulary
from annotate.model.recipe import Recipe
from storage import Box, LabelMap, LabelStore, open_store
from tests.annotate.model.elsewhere.tiny_encoders import saved_encoder
from tests.annotate.model.elsewhere.tiny_networks import noise

pytest.importorskip("transformers")

WORDS = Vocabulary(
    names=("cat", "dog", "tree"), prompts=(("cat",), ("dog",), ("tree",)), background=("sky", "wall"), threshold=0.1
)
TEMPERATURE = 0.2


def labelled(folder: Path, k: int) -> tuple[Path, LabelStore]:
    """Six pictures, and their labels by names of a vocabulary."""
    model = f"hf:{saved_encoder(folder / 'siglip', 'siglip')}"
    (folder / "images").mkdir()
    for number in range(6):
        Image.fromarray(noise(number, (32, 64))).save(folder / "images" / f"{number}.png")
    recipe = replace(Recipe.for_model(model, vocabulary=WORDS), temperature=TEMPERATURE)
    run(FolderImages(folder / "images"), str(folder / "s.zarr"), recipe, LocalWorkers(), k=k, allow_global=True)
    return folder / "images", open_store(folder / "s.zarr")


def test_the_background_counts_in_targets_and_in_both_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the encoder's folder is
    images, store = labelled(tmp_path, 3)
    annotator = annotator_of_store(store)
    found = fidelity(store, by_key(images), annotator, areas=(1.0,))
    assert found.sizes[0].label.kl < 1e-3  # all names are stored, and so is what they leave
    assert found.sizes[0].label.agreement == 1
    pictures = [np.asarray(Image.open(images / key)) for key in store.keys]
    logits = annotator.picture_logits(pictures, with_rest=True)[0].double() / TEMPERATURE
    own = logits.softmax(-1).numpy()
    answers = np.concatenate([own[:, :3], own[:, 3:].sum(1, keepdims=True)], 1)
    means = np.zeros((6, 4))
    for row, label in enumerate(map(store.read([*range(6)]).__getitem__, range(6))):
        for name in range(3):
            means[row, name] = (label.scores * (label.classes == name)).sum(-1).mean()
    means[:, 3] = 1 - means.sum(1)
    expected = np.mean([entropy(answer, target) for answer, target in zip(answers, means, strict=True)])
    assert found.sizes[0].answer is not None
    assert found.sizes[0].answer.kl == pytest.approx(expected, rel=0.02)
    assert expected > 1e-3
    assert own[:, 3:].sum(1).min() > 0.05


def test_a_label_without_any_name_is_all_background() -> None:
    shape = (2, 2, 1)
    empty = LabelMap(
        np.zeros(shape, np.uint16),
        np.zeros(shape, np.float32),
        np.array([0, 0, 1, 1], np.float32),
        np.array([8, 8], np.uint32),
        np.uint8(0),
    )
    assert answer_in(empty, Box.whole(), 2) == pytest.approx([0.5, 0.5])
